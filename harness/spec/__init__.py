"""What goes in, as data: networks, the paper's settings, cases, options. Without torch."""

from harness.spec.case import *
from harness.spec.contender import *
from harness.spec.network import *
from harness.spec.options import *
from harness.spec.paper import SGD as SGD
from harness.spec.paper import Adam as Adam
