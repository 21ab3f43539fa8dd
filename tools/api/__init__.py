"""The package ``runstate_abi`` itself: pyproject.toml installs this folder under that name.

Without files of its own the folder runstate_abi would stay behind, empty, after an uninstall.
"""
