"""What Dagster loads: `dagster dev -m ascii_hydra.definitions`, or `make start`."""

from ascii_hydra.assets.definitions import build_definitions, default_choice, pipeline_options
from ascii_hydra.assets.frozen_conf import frozen_conf
from ascii_hydra.assets.launchpad import SparkPipesClient
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.dagster_home import dagster_home

_conf = frozen_conf(conf_folder(), dagster_home())
defs = build_definitions(_conf, pipeline_options(_conf), SparkPipesClient(**default_choice(_conf)))
