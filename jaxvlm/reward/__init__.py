"""Scalars from embeddings: how well a frame fits a sentence."""

from jaxvlm.reward.epic import canonical as canonical
from jaxvlm.reward.epic import canonical_table as canonical_table
from jaxvlm.reward.epic import epic_distance as epic_distance
from jaxvlm.reward.epic import epic_distance_table as epic_distance_table
from jaxvlm.reward.epic import goal_correlation as goal_correlation
from jaxvlm.reward.epic import goal_distance as goal_distance
from jaxvlm.reward.epic import pearson as pearson
from jaxvlm.reward.epic import pearson_distance as pearson_distance
from jaxvlm.reward.label import RewardParams as RewardParams
from jaxvlm.reward.label import in_phase as in_phase
from jaxvlm.reward.label import label as label
from jaxvlm.reward.label import make_reward_params as make_reward_params
from jaxvlm.reward.label import phases_of as phases_of
from jaxvlm.reward.ranking import auc as auc
from jaxvlm.reward.ranking import spearman as spearman
from jaxvlm.reward.similarity import goal_baseline as goal_baseline
from jaxvlm.reward.similarity import normalise as normalise
from jaxvlm.reward.similarity import sigmoid_similarity as sigmoid_similarity
from jaxvlm.reward.similarity import similarity as similarity
from jaxvlm.reward.similarity import softmax_negatives as softmax_negatives
from jaxvlm.reward.similarity import validate_alpha as validate_alpha
from jaxvlm.reward.similarity import validate_phases as validate_phases
from jaxvlm.reward.similarity import validate_prompts as validate_prompts
