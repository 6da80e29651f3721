"""The profile document of a dataset, by Spark.

`spark-submit --py-files dataset_profile.py,traffic_cycle.py spark_profile.py DATASET --out profile.json`; then
`reprise profile --document profile.json`. Needs Spark 4 (`pip install pyspark`). The dataset may lie wherever Spark
reads, such as s3a://. The document is written where the driver runs.
"""

import argparse
import json
import sys
import time

import dataset_profile
from pyspark.sql import SparkSession


def accounts(spark, dataset):
    """Spark's own listings leave out names that begin with an underscore; the file system does not."""
    context = spark.sparkContext
    path = context._jvm.org.apache.hadoop.fs.Path(f"{dataset}/_account-*.json")
    found = path.getFileSystem(context._jsc.hadoopConfiguration()).globStatus(path) or []
    texts = []
    for status in found:
        stream = status.getPath().getFileSystem(context._jsc.hadoopConfiguration()).open(status.getPath())
        texts.append(context._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        stream.close()
    return [json.loads(text) for text in texts]


def main():
    parser = argparse.ArgumentParser(description="Make a profile document of a Parquet dataset, by Spark.")
    parser.add_argument("dataset", help="the directory that `reprise export parquet --partition` wrote")
    parser.add_argument("--tz", default="UTC", help="time zone of the hours and days (default: UTC)")
    parser.add_argument("--out", required=True, help="file to write, on the driver")
    asked = parser.parse_args()
    zone = dataset_profile.zone_of(asked.tz)
    spark = SparkSession.builder.appName("reprise profile").getOrCreate()
    # A recorder may be called 1234, which is a text all the same.
    spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    started = time.monotonic()
    spark.read.option("mergeSchema", "true").parquet(asked.dataset).createOrReplaceTempView("dataset")
    spark.sql(dataset_profile.exchanges_sql("dataset", "unix_micros({})".format)).createOrReplaceTempView("exchanges")
    document = dataset_profile.profile(
        lambda sql: [tuple(row) for row in spark.sql(sql).collect()],
        "last_value({}, true)".format,
        asked.dataset,
        accounts(spark, asked.dataset),
        zone,
    )
    seconds = time.monotonic() - started
    dataset_profile.write(document, asked.out)
    requests = document["requests"]
    print(f"{requests} exchanges in {seconds:.1f} s, {seconds / requests * 1e6:.2f} us each", file=sys.stderr)
    spark.stop()


if __name__ == "__main__":
    main()
