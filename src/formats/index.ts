import { CSV } from './csv.ts';
import type { ExportFormat } from './export-writer.ts';
import { HAR } from './har.ts';
import { K6 } from './k6.ts';
import { LOCUST } from './locust.ts';
import { MOONCAKE } from './mooncake.ts';
import { PARQUET } from './parquet.ts';
import { VEGETA } from './vegeta.ts';

/** What a capture can be turned into. */
export const EXPORT_FORMATS: readonly ExportFormat[] = [LOCUST, K6, VEGETA, HAR, MOONCAKE, PARQUET, CSV];
