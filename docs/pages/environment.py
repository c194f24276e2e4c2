"""The page of environment variables. A test holds that the tables have every variable in use."""

from dataclasses import dataclass

from pages.markdown import code, table, wrapped


@dataclass(frozen=True)
class Group:
    """Variables with one reader.

    Attributes:
        title: The heading of the table.
        about: A sentence above the table.
        variables: Meaning and default by name.
    """

    title: str
    about: str
    variables: dict[str, tuple[str, str]]


GROUPS = (
    Group(
        "Read by segtransfer",
        "Commands and the Python API read these; workers on other nodes need `SEGTRANSFER_WEIGHTS` "
        "and `XDG_CACHE_HOME` too.",
        {
            "SEGTRANSFER_WEIGHTS": (
                "Folder, or URL of a mirror, with files of weights. A file found there is not "
                "downloaded from its own URL. See [weights by name](../how-to/weights.md).",
                "none",
            ),
            "XDG_CACHE_HOME": ("Folder of caches; weights go to `segtransfer/` in it.", "~/.cache"),
            "MLFLOW_TRACKING_URI": (
                "MLflow server, or URI of a database, for runs, searches and comparisons. "
                "See [MLflow](../how-to/mlflow.md).",
                "`mlflow.db` in the working folder",
            ),
            "RAY_ADDRESS": (
                "Cluster to join, `host:port` of the head node; `auto` finds one on this machine.",
                "none: a cluster on this machine",
            ),
            "RAY_API_SERVER_ADDRESS": (
                "URL of the cluster's dashboard for `submit` and `job`, as `--address`.",
                "`http://127.0.0.1:8265`",
            ),
            "RAY_TMPDIR": (
                "Folder of Ray's files and sockets. If the path is too long for sockets (107 "
                "bytes), the run uses a folder below `/tmp`.",
                "`TMPDIR`",
            ),
            "TMPDIR": ("Folder of temporary files, also of Ray without `RAY_TMPDIR`.", "/tmp"),
            "RAY_AUTH_MODE": (
                "`token` makes every process of Ray ask for the token.",
                "Ray's default",
            ),
            "RAY_AUTH_TOKEN_PATH": (
                "File with Ray's token, 64 hexadecimal digits, readable by its owner alone.",
                "~/.ray/auth_token",
            ),
            "RAY_AUTH_TOKEN": ("Ray's token itself, in the place of the file.", "none"),
            "RAY_USE_TLS": ("`1` if the cluster speaks TLS; Ray then needs certificates.", "`0`"),
        },
    ),
    Group(
        "Read by libraries",
        "segtransfer passes these to libraries unchanged.",
        {
            "AWS_ACCESS_KEY_ID": ("Key of a bucket `s3://`.", "none"),
            "AWS_SECRET_ACCESS_KEY": ("Secret of the key of a bucket `s3://`.", "none"),
            "AWS_PROFILE": ("Profile of `~/.aws/credentials` for a bucket `s3://`.", "none"),
            "MLFLOW_TRACKING_USERNAME": ("User of the MLflow server.", "~/.mlflow/credentials"),
            "MLFLOW_TRACKING_PASSWORD": ("Password of the user.", "~/.mlflow/credentials"),
            "OMP_NUM_THREADS": (
                "Threads of torch per process; `numerics: reference` computes with one thread.",
                "number of cores",
            ),
            "CUDA_VISIBLE_DEVICES": ("GPUs visible to this process.", "all"),
            "NO_COLOR": ("Any value turns colours of the terminal off.", "none"),
            "COLUMNS": ("Width of tables in characters.", "width of the terminal"),
        },
    ),
    Group(
        "Set by segtransfer",
        "segtransfer sets these for libraries. All but `RAY_JOB_STOP_WAIT_TIME_S`, which goes to "
        "a submitted job, keep your own value.",
        {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": ("Retries of a request to MLflow.", "`2`"),
            "MLFLOW_HTTP_REQUEST_TIMEOUT": ("Seconds until a request to MLflow fails.", "`20`"),
            "RAY_JOB_STOP_WAIT_TIME_S": ("Seconds for the report of a stopped job.", "`120`"),
            "RAY_AIR_NEW_OUTPUT": ("Ray Tune's own table, off.", "`0`"),
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": ("Ray Tune's own log files, off.", "`1`"),
            "TUNE_DISABLE_STRICT_METRIC_CHECKING": ("Ray Tune's check of metrics, off.", "`1`"),
            "TUNE_DISABLE_SIGINT_HANDLER": ("Ray Tune's handler of Ctrl-C, off.", "`1`"),
            "TUNE_GLOBAL_CHECKPOINT_S": ("Seconds between Ray Tune's checkpoints.", "`100000`"),
        },
    ),
    Group(
        "Read by the files in infra",
        "See [clusters](../../infra/README.md), [Slurm](../how-to/slurm.md) and "
        "[MLflow for a team](../../infra/mlflow/README.md).",
        {
            "RAY_HEAD_IP": ("Address of the head node, set by `ray up`.", "set"),
            "RAY_OVERRIDE_RESOURCES": ("Cores of a node for Ray, set by the sbatch file.", "set"),
            "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT": (
                "Seconds to wait for all nodes, set by the sbatch file.",
                "`300`",
            ),
            "SLURM_ARRAY_TASK_ID": ("Line of the file of specs, set by Slurm.", "set"),
            "SLURM_CPUS_ON_NODE": ("Cores of the job on this node, set by Slurm.", "set"),
            "SLURM_JOB_ID": ("Number of the job, set by Slurm.", "set"),
            "SLURM_JOB_NUM_NODES": ("Number of nodes, set by Slurm.", "set"),
            "MLFLOW_BACKEND_STORE_URI": ("Database of the MLflow server.", "in compose.yaml"),
            "MLFLOW_ARTIFACTS_DESTINATION": ("Folder or bucket of artefacts.", "`/artifacts`"),
            "MLFLOW_AUTH_CONFIG_PATH": ("File with the settings of users.", "in compose.yaml"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ("Password of `admin`, from a secret file.", "set"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": ("Key of sessions, from a secret file.", "set"),
            "MLFLOW_SERVER_ALLOWED_HOSTS": ("Names of the server in URLs.", "in compose.yaml"),
            "MLFLOW_ALLOWED_HOSTS": (
                "Value of `MLFLOW_SERVER_ALLOWED_HOSTS`, from your shell.",
                "names of this machine",
            ),
            "POSTGRES_USER": ("User of the database.", "`mlflow`"),
            "POSTGRES_DB": ("Name of the database.", "`mlflow`"),
            "POSTGRES_PASSWORD_FILE": ("File with the password of the database.", "set"),
            "PIP_EXTRA_INDEX_URL": ("Package index of torch for CPUs, while images build.", "none"),
            "MMCV_WITH_OPS": ("Compiled operators of mmcv, left out of images.", "`0`"),
            "PIP_NO_CACHE_DIR": ("pip's cache, left out of images.", "`1`"),
            "NVIDIA_VISIBLE_DEVICES": ("GPUs visible to a container.", "`all`"),
            "NVIDIA_DRIVER_CAPABILITIES": ("Parts of the driver in a container.", "in Dockerfile"),
            "DEBIAN_FRONTEND": ("Questions of apt on a new node, off.", "`noninteractive`"),
        },
    ),
)

HEAD = """\
# Environment variables

`segtransfer submit --env NAME` hands a variable of yours to a job. Variables of a store's
credentials are needed on every node, because workers write to a bucket themselves.
"""


def environment_page() -> str:
    """Return the page: a table per reader."""
    heads = ["variable", "meaning", "default"]
    parts = [HEAD]
    for group in GROUPS:
        rows = [[code(name), *told] for name, told in group.variables.items()]
        parts.append(f"## {group.title}\n\n{wrapped(group.about)}\n\n{table(heads, rows)}")
    return "\n".join(parts)
