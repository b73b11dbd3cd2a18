"""What goes in, as data: networks, the paper's settings, cases, options. Standard library only."""

from harness.spec.case import *
from harness.spec.network import *
from harness.spec.options import *
