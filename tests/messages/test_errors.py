"""Which refusals of the system may pass by themselves."""

import errno

import pytest

from spacedrive_node.messages.errors import is_temporary


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EADDRINUSE, errno.EADDRNOTAVAIL])
def test_what_others_give_back_is_granted_later(number: int) -> None:
    assert is_temporary(OSError(number, ""))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTDIR, errno.EAFNOSUPPORT, errno.EROFS])
def test_what_a_person_has_to_change_is_not(number: int) -> None:
    assert not is_temporary(OSError(number, ""))
