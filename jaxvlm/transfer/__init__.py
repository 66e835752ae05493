"""CLIP-RL: policies found by sentence. Policies as vectors, their alignment with instructions, weights, averages."""

from jaxvlm.transfer.alignment import AlignConfig as AlignConfig
from jaxvlm.transfer.alignment import Aligned as Aligned
from jaxvlm.transfer.alignment import Ridge as Ridge
from jaxvlm.transfer.alignment import align as align
from jaxvlm.transfer.alignment import info_nce as info_nce
from jaxvlm.transfer.alignment import init_head as init_head
from jaxvlm.transfer.alignment import predict as predict
from jaxvlm.transfer.alignment import project as project
from jaxvlm.transfer.alignment import ridge as ridge
from jaxvlm.transfer.alignment import soft_info_nce as soft_info_nce
from jaxvlm.transfer.alignment import soft_targets as soft_targets
from jaxvlm.transfer.alignment import standardised as standardised
from jaxvlm.transfer.matching import Units as Units
from jaxvlm.transfer.matching import dense_units as dense_units
from jaxvlm.transfer.matching import match_permutations as match_permutations
from jaxvlm.transfer.policies import PolicySpec as PolicySpec
from jaxvlm.transfer.policies import average_policies as average_policies
from jaxvlm.transfer.policies import check_same_structure as check_same_structure
from jaxvlm.transfer.policies import flatten_policy as flatten_policy
from jaxvlm.transfer.policies import policy_spec as policy_spec
from jaxvlm.transfer.policies import stack_policies as stack_policies
from jaxvlm.transfer.policies import unflatten_policy as unflatten_policy
from jaxvlm.transfer.policies import validate_bank as validate_bank
from jaxvlm.transfer.weights import WEIGHTINGS as WEIGHTINGS
from jaxvlm.transfer.weights import similarity_weights as similarity_weights
