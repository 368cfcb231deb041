"""The services of a Debian that Upstart has booted, for Salt: all of its own module for Upstart.

That one is for such a Debian, too, but of two modules that will do Salt takes the first in the alphabet, which is the
one for scripts in /etc/init.d. Its functions are made again here, as Salt has it, so that they find what Salt gives to
each module. Where Upstart is not the init this module, like that one, does not load.
"""

from types import FunctionType

import salt.modules.upstart_service as own
from salt.utils.functools import namespaced_function

__virtualname__ = "service"
__func_alias__ = own.__func_alias__

for _name, _function in list(vars(own).items()):
    if isinstance(_function, FunctionType) and _function.__module__ == own.__name__:
        globals()[_name] = namespaced_function(_function, globals())
