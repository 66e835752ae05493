"""Scalars from embeddings: how well a frame fits a sentence."""

from jaxvlm.reward.label import RewardParams as RewardParams
from jaxvlm.reward.label import label as label
from jaxvlm.reward.label import make_reward_params as make_reward_params
from jaxvlm.reward.similarity import goal_baseline as goal_baseline
from jaxvlm.reward.similarity import normalise as normalise
from jaxvlm.reward.similarity import sigmoid_similarity as sigmoid_similarity
from jaxvlm.reward.similarity import similarity as similarity
from jaxvlm.reward.similarity import softmax_negatives as softmax_negatives
from jaxvlm.reward.similarity import validate_alpha as validate_alpha
from jaxvlm.reward.similarity import validate_prompts as validate_prompts
