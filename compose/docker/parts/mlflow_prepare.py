"""Makes or upgrades MLflow's tables before the workers start: each of them would
do it, at the same time."""

import os

from mlflow.server.auth.db.utils import migrate_if_needed
from mlflow.store.db.utils import _initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
from sqlalchemy import inspect

address = os.environ["MLFLOW_BACKEND_STORE_URI"]
engine = create_sqlalchemy_engine_with_retry(address)
if inspect(engine).has_table("experiments"):
    _upgrade_db(engine)
else:
    _initialize_tables(engine)
migrate_if_needed(engine, "head")
