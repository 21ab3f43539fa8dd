"""Many kernels: which files are one question, over which executor, and what is remembered."""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from runstate_abi.layouts.findings import exit_code
from runstate_abi.layouts.witnesses.kernels import Settings
from runstate_abi.tools.check import fleet
from runstate_abi.tools.check.fleet import Answers
from runstate_abi.tools.fleet import units

SETTINGS = Settings()
RUNSTATE = str(Path(sys.executable).with_name("runstate"))


@pytest.fixture
def kernels(kernel_object, declarations, tmp_path):
    """Three units: two that are equal and one whose native struct has been changed."""
    texts = [declarations[name] for name in ("NATIVE", "COMPAT", "KVM")]
    wrong = texts[0].replace("int state", "long state")
    more = [*texts, "struct filler { int x; };"]
    for name, declared in {"a": texts, "b": more, "c": [wrong, *texts[1:]]}.items():
        (tmp_path / "fleet" / name).mkdir(parents=True)
        shutil.move(kernel_object(name, declared), tmp_path / "fleet" / name / "vmlinux")
    return str(tmp_path / "fleet")


EXECUTORS = {
    "here": lambda: None,
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_the_answer_does_not_depend_on_the_executor(kernels, kind):
    executor = EXECUTORS[kind]()
    found, _ = units([kernels])
    seen = dict(fleet.answered(found, SETTINGS, executor, None))
    if executor:
        executor.shutdown()
    assert [exit_code(seen[unit]) for unit in found] == [0, 0, 1]


def test_a_dask_cluster_of_two_workers_gives_the_same(kernels):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        command = [RUNSTATE, "check", kernels, "--no-cache", "--dask", cluster.scheduler_address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        ran = cluster.scheduler.transition_counter
    local = subprocess.run(
        [RUNSTATE, "check", kernels, "--no-cache"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, local.stdout), done.stderr
    assert ran > 0


def test_a_dask_cluster_that_is_not_there_is_one_line_and_exit_3(kernels, run_check):
    pytest.importorskip("distributed")
    code, out, err = run_check(kernels, "--no-cache", "--dask", "nonsense://nowhere")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("runstate: --dask nonsense://nowhere: ")


class Failing(Executor):
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


def test_a_worker_that_dies_is_one_unit_that_could_not_be_checked(kernels):
    found, _ = units([kernels])
    seen = dict(fleet.answered(found, SETTINGS, Failing(), None))
    assert [exit_code(seen[unit]) for unit in found] == [0, 3, 1]
    (item,) = seen[found[1]][0].not_checked
    assert item.why.endswith("b/vmlinux: its worker failed: MemoryError: killed")


def test_a_second_run_reads_no_kernel(kernels, tmp_path, monkeypatch):
    old = time.time() - 3600
    for path in Path(kernels).rglob("vmlinux"):
        os.utime(path, (old, old))
    found, _ = units([kernels])
    answers = Answers(str(tmp_path / "cache"))
    first = dict(fleet.answered(found, SETTINGS, None, answers))
    monkeypatch.setattr(fleet, "ask", None)
    assert dict(fleet.answered(found, SETTINGS, None, answers)) == first


def test_the_same_bytes_are_asked_once_in_a_run(kernels, tmp_path):
    shutil.copytree(Path(kernels) / "a", Path(kernels) / "copy")
    found, _ = units([kernels])
    executor = Failing()
    executor.count = 2  # none dies
    seen = dict(fleet.answered(found, SETTINGS, executor, Answers(str(tmp_path / "cache"))))
    assert executor.count == 2 + len(found) - 1
    assert {finding.path for unit in found for finding in seen[unit]} == {
        path for unit in found for path in unit
    }


def test_what_could_not_be_checked_is_asked_again(kernels, tmp_path):
    found, _ = units([kernels])
    answers = Answers(str(tmp_path / "cache"))
    first = dict(fleet.answered(found, SETTINGS, Failing(), answers))
    second = dict(fleet.answered(found, SETTINGS, None, answers))
    assert [exit_code(first[unit]) for unit in found] == [0, 3, 1]
    assert [exit_code(second[unit]) for unit in found] == [0, 0, 1]


def test_an_archives_files_are_named_by_it(kernels, tmp_path):
    path = tmp_path / "kernels.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(Path(kernels) / "a" / "vmlinux", "./boot/vmlinux")
    (finding,) = fleet.ask((str(path),), SETTINGS)
    assert finding.path == f"{path}!boot/vmlinux"
    assert finding.source.startswith(f"{path}!boot/vmlinux: ELF file (ELF64 x86-64), ")
    assert exit_code([finding]) == 0


@pytest.fixture(params=["btf", "dwarf"])
def pairs(request, kernel_object, compiled_object, declarations):
    """Return five pairs of a kernel and its kvm.ko, as {name in an archive: file}; e differs."""
    native, compat, kvm = (declarations[name] for name in ("NATIVE", "COMPAT", "KVM"))
    wrong = compat.replace(" __attribute__((packed))", "")
    found = {}
    for version in "abcde":
        own = f"struct only_{version} {{ int {version}; }};"
        second = [wrong if version == "e" else compat, kvm, own]
        if request.param == "btf":
            kernel = kernel_object(f"kernel-{version}", [native, own])
            module = kernel_object(f"kvm-{version}", [native, *second], base=kernel)
        else:
            kernel = compiled_object(f"kernel-{version}", [native, own])
            module = compiled_object(f"kvm-{version}", second)
        found[version] = {
            f"boot/vmlinux-6.{version}-amd64": kernel,
            f"lib/modules/6.{version}-amd64/kernel/arch/x86/kvm/kvm.ko": module,
        }
    return found


# Archives of 1, 2 and 5 kernels; in each place the one that differs, or one without its module.
ORDERS = ["a", "e", "ab", "ae", "ea", "abcd", "eabcd", "aebcd", "abecd", "abced", "abcde"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["w:gz", "w"])
def test_every_kernel_of_an_archive_is_asked(pairs, tmp_path, order, kind):
    for lacking in ("", *order):
        path = tmp_path / f"{order}{lacking}.tar"
        with tarfile.open(path, kind) as archive:
            for version in order:
                for name, file in pairs[version].items():
                    if version != lacking or "kvm" not in name:
                        archive.add(file, name)
        findings = fleet.ask((str(path),), SETTINGS)
        assert len(findings) == 2 * len(order) - bool(lacking)
        differs = "e" in order and lacking != "e"
        assert exit_code(findings) == (1 if differs else 3 if lacking else 0)
        unheard = [i.what for f in findings for i in f.not_checked]
        assert unheard == (["struct compat_vcpu_runstate_info"] if lacking else [])


def test_a_kernel_and_its_module_may_be_in_two_packages(kernel_object, declarations, tmp_path):
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    texts = [declarations[name] for name in ("NATIVE", "COMPAT", "KVM")]
    module = kernel_object("kvm", texts, base=kernel)
    paths = []
    for name, member, source in (("a", "vmlinux", kernel), ("b", "kvm.ko", module)):
        paths.append(str(tmp_path / f"{name}.tar"))
        with tarfile.open(paths[-1], "w") as archive:
            archive.add(source, member)
    findings = fleet.ask(tuple(paths), SETTINGS)
    assert [f.path for f in findings] == [f"{paths[0]}!vmlinux", f"{paths[1]}!kvm.ko"]
    assert exit_code(findings) == 0


def test_an_archive_without_a_kernel_could_not_be_checked(tmp_path):
    path = tmp_path / "empty.tar"
    tarfile.open(path, "w").close()
    findings = fleet.ask((str(path),), SETTINGS)
    assert exit_code(findings) == 3
    assert findings[0].not_checked[0].why.endswith("no kernel, kvm.ko or xen-syms in this archive")


@pytest.fixture
def run_check(capsys):
    from runstate_abi.tools import cli

    def run(*argv):
        code = cli.main(["check", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_one_row_for_each_file_and_one_verdict(kernels, run_check):
    code, out, err = run_check(kernels, "--no-cache", "-j", "2")
    assert (code, err) == (1, "")
    assert [line.split()[0] for line in out.splitlines() if " btf " in line] == [
        "ok",
        "ok",
        "DIFFERS",
    ]
    assert out.splitlines()[-1].startswith("3 witnesses: 78 facts compared, 48 conditions")


@pytest.mark.needs("script")
def test_a_progress_bar_on_a_terminal_and_only_there(kernels):
    script = shutil.which("script")
    # Without the quarter of a second in which a quick machine is done and shows no bar.
    code = (
        "import sys; from runstate_abi.tools import cli, output; output.BAR_AFTER_S = 0;"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = f"{sys.executable} -c '{code}' check {kernels} --no-cache -j 2 >/dev/null"
    done = subprocess.run(
        [script, "-qec", command, "/dev/null"], capture_output=True, text=True,
        env={**os.environ, "TERM": "xterm"},  # rich draws no bar on a dumb terminal
    )  # fmt: skip
    assert done.returncode == 1
    assert "━" in done.stdout


def test_hostile_files_cost_little(tmp_path):
    """Two bombs, as one command: it ends, says a line for each, and stays small."""
    zstandard = pytest.importorskip("zstandard")

    def bomb(name, head, size):
        with open(tmp_path / name, "wb") as file:
            stream = zstandard.ZstdCompressor().stream_writer(file)
            stream.write(head)
            for _ in range(size >> 20):
                stream.write(bytes(1 << 20))
            stream.close()

    big = tarfile.TarInfo("vmlinux")
    big.size = 1 << 33
    bomb("file.tar.zst", big.tobuf(tarfile.GNU_FORMAT), 1 << 30)
    big.type, big.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    bomb("name.tar.zst", big.tobuf(tarfile.GNU_FORMAT), 1 << 30)
    command = [RUNSTATE, "check", tmp_path, "--no-cache", "-j", "1"]
    with subprocess.Popen(command, stdout=-3, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, said.count("\n")) == (3, 2), said
    assert "vmlinux has 8589934592 bytes, over 2147483648" in said
    assert "a name of 4294967296 bytes" in said
    assert used.ru_maxrss < 512 << 10  # KiB


@pytest.mark.network
def test_a_debian_package_is_checked_as_it_is(debian, tmp_path):
    apt = debian._apt("trixie", "amd64")
    names = debian._closure(apt, "linux-image-cloud-amd64")
    name = next(n for n in names if n.startswith("linux-image-6"))
    environment = {**os.environ, "APT_CONFIG": str(apt)}
    get = ["apt-get", "download", name]
    subprocess.run(get, cwd=tmp_path, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [RUNSTATE, "check", tmp_path, "--no-cache"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "native 48, compat 44; 26 compared, 0 differ; 16 of 16 conditions hold" in done.stdout
