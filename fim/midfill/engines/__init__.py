"""The engines: each keeps the promise of `midfill.engine.Engine`. Import the one that is wanted."""
