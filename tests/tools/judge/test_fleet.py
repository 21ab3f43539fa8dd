"""Many kernels judged: what is a row, what is refused, over which executor, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from runstate_abi.tools.fleet import units
from runstate_abi.tools.judge import fleet, tallies
from runstate_abi.tools.judge.fleet import Asked

QUICK = Asked(quick=True)


@pytest.fixture
def shelf(c_writer, tmp_path):
    """Return a function: {folder: defines of its kvm.ko} -> the folder with all of them."""

    def make(**kernels):
        for name, defines in kernels.items():
            (tmp_path / "shelf" / name).mkdir(parents=True)
            shutil.copy(c_writer(*defines), tmp_path / "shelf" / name / "kvm.ko")
        return tmp_path / "shelf"

    return make


@pytest.fixture
def three(shelf):
    """Two writers with one contract, one after the other, and one that is broken between them."""
    return str(shelf(a=(), b=("NO_SET",), c=("SECOND_PAGE_FIRST",)))


@pytest.fixture
def built(c_writer, kernel_object, tmp_path):
    """Return a function: name -> (kernel, module) of a build, the module's BTF split."""

    def make(name, *defines):
        kernel = kernel_object(f"vmlinux-{name}", [f"struct only_{name} {{ int {name}[3]; }};"])
        module = tmp_path / f"module-{name}.ko"
        shutil.copy(c_writer(*defines, btf=False, flags=("-g",)), module)
        subprocess.run(["pahole", "-J", "--btf_base", kernel, module], check=True)
        subprocess.run(["objcopy", "--strip-debug", module], check=True)
        return kernel, str(module)

    return make


def marks(out):
    """Return (mark, name) of each row of a report."""
    rows = [line.split()[:2] for line in out.split("\n\n")[0].splitlines()]
    return [tuple(row) for row in rows if row[0] in ("right", "refused") or "kvm" in row[1]]


def test_a_row_for_each_kernel_and_one_verdict(judge, three):
    code, out, err = judge(three, "--quick", "-j", "1")
    assert (code, err) == (1, "")
    rows = [line for line in out.splitlines() if line.endswith("/kvm.ko")]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        ("right", f"{three}/a/kvm.ko"),
        ("BROKEN", f"{three}/b/kvm.ko"),
        ("right", f"{three}/c/kvm.ko"),
    ]
    assert out.splitlines()[-1] == "WRONG: 1 of 3 kernels breaks a rule (set-first)"
    (told,) = [line for line in out.splitlines() if line.startswith("    BROKEN  set-first: ")]
    assert "first native@0x0,flag: " in told


def test_kernels_with_equal_contracts_are_one_group(judge, three):
    _, out, _ = judge(three, "--quick")
    tail = out.split("\n\n")[-1].splitlines()
    assert tail[0] == "3 kernels, 2 contracts:"
    assert [line.split()[1:] for line in tail[1:3]] == [
        ["2", "kernels", "kvm.ko,", "kvm.ko"],
        ["1", "kernel", "kvm.ko"],
    ]
    shutil.rmtree(Path(three) / "b")
    code, out, _ = judge(three, "--quick")
    alone = judge(f"{three}/a/kvm.ko", "--quick")[1]
    contract = alone.splitlines()[-2].split()[1]
    assert code == 0
    assert out.splitlines()[-2:] == [f"2 kernels, one contract {contract}", "right: 2 kernels"]


def test_a_large_group_names_only_some():
    rows = [fleet.Row(f"boot/k{n}", (), contract="c") for n in range(9)]
    rows.append(rows[0]._replace(contract="d"))
    groups = [line for line in fleet.lines(rows) if line.startswith("  ")]
    assert groups == ["  c  9 kernels  k0, k1, k2, k3, and 5 more", "  d  1 kernel   k0"]


def test_what_is_refused_is_told_with_its_reason_and_exits_3(judge, shelf):
    root = shelf(a=(), b=("MUTE_COPY=__tsan_copy",))
    code, out, err = judge(str(root), "--quick")
    assert code == 3
    (row,) = [line for line in out.splitlines() if line.startswith("refused")]
    assert "b/kvm.ko: cannot judge: it calls __tsan_copy, which is not known here" in row
    assert out.splitlines()[-1] == "not everything was judged: 1 kernel right, 1 refused"
    assert err == "runstate: could not judge 1 of 2\n"


def test_a_broken_rule_comes_before_what_is_refused(judge, shelf):
    root = shelf(a=("NO_SET",), b=("STRAY",))
    code, out, _ = judge(str(root), "--quick")
    assert code == 1
    assert out.splitlines()[-1] == ("WRONG: 1 of 1 kernel breaks a rule (set-first), 1 refused")


def test_a_breach_that_is_allowed_is_a_note(judge, shelf):
    root = shelf(a=("LOSES_IRQRESTORE_WHEN_BUSY",), b=())
    assert judge(str(root), "--quick")[0] == 1
    code, out, _ = judge(str(root), "--quick", "--allow", "irqs")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("    allowed: rule-broken")]


def test_a_folder_without_a_kernel_is_one_line(judge, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    code, out, err = judge(str(tmp_path))
    assert (code, out) == (3, "")
    assert err == f"runstate: {tmp_path}: no kernel, kvm.ko, package or tarball in it\n"


def test_a_kernel_whose_module_is_not_there_is_refused(judge, tmp_path):
    (tmp_path / "vmlinuz-6.12").write_bytes(bytes(0x202) + b"HdrS" + bytes(100))
    code, out, err = judge(str(tmp_path))
    assert (code, out) == (3, "")
    assert err.endswith("vmlinuz-6.12: cannot judge: no kvm.ko with it, which has the writer\n")


def test_what_is_no_kernel_fails_if_it_was_named_and_is_passed_over_in_a_folder(judge, shelf):
    root = shelf(a=(), b=())
    (root / "notes.txt").write_text("nothing")
    (root / "a" / "kvm-intel.ko").write_bytes(b"not asked")
    assert judge(str(root), "--quick")[0] == 0
    named = [str(root / "a" / "kvm.ko"), str(root / "b" / "kvm.ko"), str(root / "notes.txt")]
    code, out, _ = judge(*named, "--quick")
    assert code == 3
    assert [line for line in out.splitlines() if line.endswith("notes.txt: not an ELF file")]
    code, out, _ = judge(str(root / "a" / "kvm.ko"), "nosuch.ko", "--quick")
    assert code == 3
    assert "nosuch.ko: No such file or directory" in out


def test_a_file_beside_a_module_that_is_no_kernel_fails_too(judge, shelf):
    root = shelf(a=())
    (root / "a" / "notes.txt").write_text("nothing")
    code, out, _ = judge(str(root / "a" / "kvm.ko"), str(root / "a" / "notes.txt"), "--quick")
    assert code == 3
    assert [word for word, *_ in map(str.split, out.splitlines()[:2])] == ["right", "refused"]


def test_one_kernel_in_a_folder_has_the_report_of_one(judge, shelf, monkeypatch):
    root = shelf(a=("NO_SET",))
    path = str(root / "a" / "kvm.ko")
    for more in ((), ("--verbose",)):
        assert judge(str(root), "--quick", *more) == judge(path, "--quick", *more)
    asked = []
    monkeypatch.setattr(tallies, "_in_processes", lambda *args: asked.append(args[3]) or [])
    judge(str(root), "-j", "2")
    assert asked == [2]


EXECUTORS = {
    "here": lambda: None,
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_the_rows_do_not_depend_on_the_executor(three, kind):
    found, _ = units([three])
    executor, done = EXECUTORS[kind](), []
    rows = fleet.judged(found, QUICK, executor, done.append)
    if executor:
        executor.shutdown()
    assert [row.path for row in rows] == [path for unit in found for path in unit]
    assert [row.broken for row in rows] == [(), ("set-first",), ()]
    assert rows == [row for unit in found for row in fleet.judge_unit(unit, QUICK)]
    assert sorted(done) == [row.path for row in rows]


def test_the_rows_come_in_the_order_of_the_units_whichever_is_done_first(monkeypatch):
    second = threading.Event()

    def work(unit, asked):
        if unit == ("a",):
            second.wait(30)
        else:
            second.set()
        return [fleet.refusal(unit[0], "why")]

    monkeypatch.setattr(fleet, "judge_unit", work)
    with ThreadPoolExecutor(2) as executor:
        rows = fleet.judged([("a",), ("b",)], QUICK, executor)
    assert [row.path for row in rows] == ["a", "b"]


class Dying(Executor):
    """An executor whose second task dies."""

    def __init__(self):
        self.count = 0

    def submit(self, function, /, *args):
        future = Future()
        self.count += 1
        if self.count == 2:
            future.set_exception(MemoryError("killed"))
        else:
            future.set_result(function(*args))
        return future


def test_a_worker_that_dies_is_one_row_that_is_refused(three):
    found, _ = units([three])
    rows = fleet.judged(found, QUICK, Dying())
    whys = [row.refused for row in rows]
    assert whys == ["", f"{three}/b/kvm.ko: its worker failed: MemoryError: killed", ""]
    assert fleet.exit_status(rows) == 3


def test_a_dask_cluster_of_two_workers_gives_the_same(judge, three, package):
    distributed = package("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        code, out, _ = judge(three, "--quick", "--dask", cluster.scheduler_address)
        ran = cluster.scheduler.transition_counter
    assert (code, out) == judge(three, "--quick")[:2]
    assert ran > 0


def test_a_dask_cluster_that_is_not_there_is_one_line(judge, three, package):
    package("distributed")
    code, out, err = judge(three, "--dask", "nonsense://nowhere")
    assert (code, out, err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_module_is_judged_with_the_kernel_that_its_btf_fits(judge, built, tmp_path, order):
    root = tmp_path / "boot"
    for name in order:
        kernel, module = built(name, *(["NO_SET"] if name == "b" else []))
        (root / name).mkdir(parents=True)
        shutil.copy(kernel, root / name / "vmlinux")
        shutil.copy(module, root / name / "kvm.ko")
    code, out, err = judge(str(root), "--quick")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("WRONG: 1 of 2 kernels breaks a rule")
    (root / "a" / "vmlinux").unlink()
    code, out, _ = judge(str(root), "--quick")
    (row,) = [line for line in out.splitlines() if line.startswith("refused")]
    assert "give the vmlinux" in row


def test_a_kernel_and_its_module_that_are_named_may_be_anywhere(judge, built, tmp_path):
    kernel, module = built("a")
    for folder, path in (("one", kernel), ("two", module)):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder / ("vmlinux" if folder == "one" else "kvm.ko"))
    named = [str(tmp_path / "one" / "vmlinux"), str(tmp_path / "two" / "kvm.ko")]
    for paths in (named, named[::-1], [named[1], "--btf", named[0]]):
        code, out, err = judge(*paths, "--quick")
        assert (code, err) == (0, "")
        assert out.startswith(named[1])


def test_the_kernels_of_a_tarball_are_told_apart_and_named_by_it(judge, built, tmp_path):
    path = tmp_path / "kernels.tar"
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate("ab"):
            kernel, module = built(name, *(["NO_SET"] if name == "b" else []))
            archive.add(kernel, f"boot/vmlinux-6.{number}")
            archive.add(module, f"lib/modules/6.{number}/kernel/arch/x86/kvm/kvm.ko")
    code, out, _ = judge(str(path), "--quick")
    assert code == 1
    rows = [line.split() for line in out.splitlines() if line.endswith("kvm/kvm.ko")]
    inside = "lib/modules/6.{}/kernel/arch/x86/kvm/kvm.ko"
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("right", "6.0", f"{path}!{inside.format(0)}"),
        ("BROKEN", "6.1", f"{path}!{inside.format(1)}"),
    ]


def test_what_has_no_writer_beside_a_module_is_no_second_kernel(judge, c_writer, tmp_path):
    for version in ("6.1", "6.2"):
        folder = tmp_path / "lib" / "modules" / version / "kernel"
        debug = tmp_path / "usr" / "lib" / "debug" / "lib" / "modules" / version / "kernel"
        folder.mkdir(parents=True)
        debug.mkdir(parents=True)
        shutil.copy(c_writer(), folder / "kvm.ko")
        (folder / "kvm-intel.ko").write_bytes(b"not asked")
        split = ["objcopy", "--only-keep-debug", folder / "kvm.ko"]
        subprocess.run([*split, debug / "kvm.ko"], check=True)
    code, out, _ = judge(str(tmp_path), "--quick")
    assert (code, out.splitlines()[-1]) == (0, "right: 2 kernels")


def test_a_folder_with_only_such_a_module_has_no_kernel(judge, tmp_path):
    path = tmp_path / "kvm-intel.ko"
    path.write_bytes(b"not asked")
    assert judge(str(tmp_path)) == (3, "", f"runstate: {tmp_path}: no kvm.ko in it\n")
    assert judge(str(path), "x.ko")[0] == 3


def test_every_format_has_every_kernel(judge, shelf):
    root = str(shelf(a=(), b=("NO_SET",), c=("STRAY",)))
    code, out, err = judge(root, "--quick", "--format", "json")
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("runstate: ")
    assert "nothing is" in err
    document = json.loads(out)
    assert document["exit"] == 1
    prints = [w["fingerprints"] for w in document["witnesses"] if w["fingerprints"]]
    assert [set(one) for one in prints] == [{"contract", "stores", "calls"}] * 2
    assert prints[0]["contract"] != prints[1]["contract"]
    _, out, _ = judge(root, "--quick", "--format", "junit")
    suites = ElementTree.fromstring(out).findall("testsuite")
    named = {suite.get("name").split()[-1]: suite for suite in suites}
    failures = [int(named[f"{root}/{name}/kvm.ko"].get("failures")) for name in "abc"]
    assert failures == [0, 1, 1]
    for form in ("sarif", "github", "gitlab", "md", "ktap"):
        code, out, _ = judge(root, "--quick", "--format", form)
        assert code == 1
        assert "set-first" in out
        assert "nothing is" in out  # why the third is refused


def test_the_text_can_go_to_a_file(judge, three, tmp_path):
    path = tmp_path / "report.txt"
    text = judge(three, "--quick")[1]
    assert judge(three, "--quick", "--format", f"text={path}")[:2] == (1, "")
    assert path.read_text() == text


@pytest.mark.parametrize(
    "more", [("--trace",), ("--against", "x.o"), ("-j", "0"), ("--btf", "a", "--btf", "b")]
)
def test_what_is_for_one_kernel_is_refused_for_several(judge, three, more):
    for paths in ([three], ["a.o", "b.o"]):
        code, out, err = judge(*paths, *more)
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_scenario_of_xens_is_no_reason_to_judge_nothing_else(judge, three):
    code, _, err = judge(three, "--case", "native@0x100,hvm")
    assert code == 3
    assert err.count("hvm is for Xen's writer") == 3


def processes_of(session):
    """The processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "-s", str(session)], capture_output=True, text=True
    ).stdout
    return [line for line in listed.splitlines() if line.split()[1][0] != "Z"]


def deaf_workers(session):
    """Those of them, but the command itself, in which SIGINT is blocked or ignored."""
    found = []
    for pid in {line.split()[0] for line in processes_of(session)} - {str(session)}:
        status = Path(f"/proc/{pid}/status").read_text().split()
        sets = [int(status[status.index(name) + 1], 16) for name in ("SigBlk:", "SigIgn:")]
        found += [pid] * any(one >> (signal.SIGINT - 1) & 1 for one in sets)
    return found


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# The forkserver and its resource tracker are two more than the workers of several kernels.
@pytest.mark.parametrize(("kernels", "processes"), [("a", 3), ("abc", 5)])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGINT", "SIGKILL"])
def test_however_it_ends_no_process_is_left_and_ctrl_c_is_one_line(
    shelf, installed, kernels, processes, how
):
    installed("ps")
    root = shelf(**dict.fromkeys(kernels, ()))
    command = [sys.executable, "-m", "runstate_abi", "judge", root, "-j", "2"]
    # A shell's background job ignores Ctrl-C, and so would all that it starts.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=heard,
    ) as process:  # fmt: skip
        until(lambda: len(processes_of(process.pid)) >= processes)
        if how == "Ctrl-C":
            until(lambda: len(deaf_workers(process.pid)) == processes - 1)
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.Signals[how])
        ended = time.monotonic()
        out, err = process.communicate(timeout=30)
    if how != "SIGKILL":
        assert (process.returncode, out, err) == (130, "", "runstate: interrupted\n")
    until(lambda: not processes_of(process.pid))
    # A worker that goes on has work for longer than this, if the machine is not a quick one.
    assert time.monotonic() - ended < 10


@pytest.mark.network
def test_the_kernels_that_debian_ships_have_one_contract(judge, debian, tmp_path):
    pytest.importorskip("unicorn")
    members = [r"vmlinuz.*", r"kvm\.ko\.xz"]
    for name in ("linux-image-amd64", "linux-image-cloud-amd64"):
        for path in debian.kernel("trixie", name, members):
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / name)
    code, out, err = judge(str(tmp_path), "--quick")
    assert (code, err) == (0, "")
    assert out.splitlines()[-2].startswith("2 kernels, one contract ")
