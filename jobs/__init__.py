"""Spark jobs, one folder a job. They need pyspark, boto3 and the standard library, and run as they are on EMR, EMR Serverless and Glue."""
