"""later"""


def measured(folder, rounds): ...
