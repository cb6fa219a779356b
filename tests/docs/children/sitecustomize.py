"""Python imports this at its start in the processes of a page: it sets them upon the stage."""

import docs_stage

docs_stage.enter()
