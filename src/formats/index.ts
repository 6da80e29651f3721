import { ARRIVALS } from './arrival-trace.ts';
import type { ExportFormat } from './export-writer.ts';
import { GOR } from './gor.ts';
import { HAR, HAR_IMPORT } from './har.ts';
import { K6 } from './k6.ts';
import { KSERVE } from './kserve.ts';
import { LOCUST } from './locust.ts';
import { MOONCAKE, MOONCAKE_IMPORT } from './mooncake.ts';
import { OTLP } from './otlp.ts';
import { PARQUET } from './parquet.ts';
import { CSV } from './tables.ts';
import { TFSERVING } from './tfserving.ts';
import { VEGETA } from './vegeta.ts';

/** Formats that captures can be exported to. */
export const EXPORT_FORMATS: readonly ExportFormat[] = [LOCUST, K6, VEGETA, HAR, MOONCAKE, PARQUET, CSV];

/** Formats that captures can be built from, by name, in the order in which help lists them. */
export const IMPORT_FORMATS = {
  arrivals: ARRIVALS,
  har: HAR_IMPORT,
  gor: GOR,
  mooncake: MOONCAKE_IMPORT,
  kserve: KSERVE,
  otlp: OTLP,
  tfserving: TFSERVING,
};
