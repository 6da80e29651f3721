import type { ExportFormat } from './export-writer.ts';
import { HAR } from './har.ts';
import { K6 } from './k6.ts';
import { LOCUST } from './locust.ts';
import { MOONCAKE } from './mooncake.ts';
import { PARQUET } from './parquet.ts';
import { CSV } from './tables.ts';
import { VEGETA } from './vegeta.ts';

/** Formats that captures can be exported to. */
export const EXPORT_FORMATS: readonly ExportFormat[] = [LOCUST, K6, VEGETA, HAR, MOONCAKE, PARQUET, CSV];
