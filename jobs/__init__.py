"""Spark jobs, one folder a job. They need PySpark, Iceberg and the standard library, and run as they are on EMR, EMR Serverless and Glue."""
