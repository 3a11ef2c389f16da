"""The nodes' processes, and the names of the program's groups."""

QUEUE, LEARNER, ACTOR, EVALUATOR = 'queue', 'learner', 'actor', 'evaluator'
INFERENCE, MONITOR = 'inference', 'monitor'
EVALUATION_SERVER = 'evaluation_server'
