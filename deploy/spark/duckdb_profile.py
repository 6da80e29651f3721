"""The profile document of a dataset, by DuckDB on one machine.

`python duckdb_profile.py DATASET --out profile.json` with `pip install duckdb`; then
`reprise profile --document profile.json`.
"""

import argparse

import dataset_profile
import duckdb


def main():
    parser = argparse.ArgumentParser(description="Make a profile document of a Parquet dataset, by DuckDB.")
    parser.add_argument("dataset", help="the directory that `reprise export parquet --partition` wrote")
    parser.add_argument("--tz", default="UTC", help="time zone of the hours and days (default: UTC)")
    parser.add_argument("--out", help="file to write (default: print it)")
    asked = parser.parse_args()
    zone = dataset_profile.zone_of(asked.tz)
    with duckdb.connect() as database:
        files = f"{asked.dataset}/*/*/*.parquet".replace("'", "''")
        database.execute(
            f"CREATE VIEW dataset AS SELECT * FROM read_parquet('{files}', "
            "hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
        )
        database.execute("CREATE VIEW exchanges AS " + dataset_profile.exchanges_sql("dataset", "epoch_us({})".format))
        document = dataset_profile.profile(
            lambda sql: database.execute(sql).fetchall(),
            "last_value({} IGNORE NULLS)".format,
            asked.dataset,
            dataset_profile.accounts_in(asked.dataset),
            zone,
        )
    dataset_profile.write(document, asked.out)


if __name__ == "__main__":
    main()
