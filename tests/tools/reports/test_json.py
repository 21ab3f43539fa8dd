"""The JSON names what was read and what produced it; its schema is versioned."""

import json

from runstate_abi.tools.reports import json as as_json


def test_json_names_its_producer_and_every_difference(tmp_path, findings):
    path = tmp_path / "vmlinux.btf"
    path.write_bytes(b"abc")
    seen = json.loads(as_json.render([findings.different._replace(path=str(path))]))
    assert seen["schema"] == "runstate-check/1"
    assert set(seen["producer"]) == {"name", "version", "python"}
    (witness,) = seen["witnesses"]
    assert witness["differences"][0]["line"] == str(findings.difference)
    assert witness["input"] == {
        "path": str(path),
        "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
