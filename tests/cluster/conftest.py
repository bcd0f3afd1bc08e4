"""Fixtures with a two-node Slurm and a two-node Ray, started in temporary folders and stopped after
the tests. Nothing in /etc is changed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/sock
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=300
KillWait=20
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""  # noqa: E501


def _ports(number: int) -> int:
    """The first of `number` consecutive free ports."""
    for port in range(26817, 27817, number):
        try:
            for candidate in range(port, port + number):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")


def run(*command: str, **more) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, **more).stdout


@pytest.fixture(scope="session")
def slurm():
    """The environment variables of a Slurm with the nodes n1 and n2, one core each."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        pytest.skip(
            f"Slurm is not installed: {', '.join(absent)} (Debian: slurmd slurmctld slurm-client"
            " munge)"
        )
    if os.geteuid() != 0:
        pytest.skip("a private Slurm is started as root")
    import tempfile

    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    for name in ("state", "spool/n1", "spool/n2", "munge", "log"):
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    (root / "munge").chmod(0o755)
    key = root / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    paths = {
        "key-file": "munge/key",
        "socket": "munge/sock",
        "pid-file": "munge/pid",
        "log-file": "log/munged.log",
        "seed-file": "munge/seed",
    }
    munge = [f"--{name}={root}/{path}" for name, path in paths.items()]
    subprocess.run(["munged", "--force", *munge], check=True, capture_output=True)
    port = _ports(3)
    host = socket.gethostname().split(".")[0]
    conf = root / "slurm.conf"
    conf.write_text(CONF.format(host=host, root=root, port=port, first=port + 1, second=port + 2))
    env = {**os.environ, "SLURM_CONF": str(conf)}
    subprocess.run(["slurmctld", "-c", "-f", str(conf)], check=True, env=env)
    for node in ("n1", "n2"):
        subprocess.run(["slurmd", "-N", node], check=True, env=env)
    limit = time.monotonic() + 30
    while (
        time.monotonic() < limit
        and run("sinfo", "-h", "-t", "idle", "-o", "%D", env=env).strip() != "2"
    ):
        time.sleep(0.3)
    yield env
    subprocess.run(["scancel", "-u", "root"], env=env, check=False, capture_output=True)
    time.sleep(1)
    for pid in [*root.glob("slurmd.*.pid"), root / "slurmctld.pid", root / "munge" / "pid"]:
        try:
            os.kill(int(pid.read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            continue
    time.sleep(1)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def ray():
    """The address, environment variables and processes of a Ray with two nodes, one core each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mlplab[ray]'")
    import tempfile

    folder = tempfile.mkdtemp(prefix="ray-")
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--num-cpus=1",
        "--object-store-memory=80000000",
        "--block",
    ]
    head = [
        *command,
        "--head",
        "--node-ip-address=127.0.0.2",
        "--port=26379",
        "--include-dashboard=false",
        f"--temp-dir={folder}",
        "--min-worker-port=27000",
        "--max-worker-port=27099",
        "--dashboard-agent-listen-port=26590",
    ]
    second = [
        *command,
        "--address=127.0.0.2:26379",
        "--node-ip-address=127.0.0.3",
        "--min-worker-port=27100",
        "--max-worker-port=27199",
        "--dashboard-agent-listen-port=26591",
    ]
    nodes = []
    for node_command in (head, second):
        nodes.append(
            subprocess.Popen(
                node_command,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        time.sleep(8)
    yield "127.0.0.2:26379", env, nodes
    for node in nodes:
        try:
            os.killpg(node.pid, signal.SIGTERM)
            node.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(20)
    shutil.rmtree(folder, ignore_errors=True)
