import type { ExportFormat } from './export-writer.ts';
import { openGor } from './gor.ts';
import { HAR, openHar } from './har.ts';
import { K6 } from './k6.ts';
import { LOCUST } from './locust.ts';
import { MOONCAKE, openMooncake } from './mooncake.ts';
import { CSV, PARQUET } from './tables.ts';
import { VEGETA } from './vegeta.ts';

/** Formats that captures can be exported to. */
export const EXPORT_FORMATS: readonly ExportFormat[] = [LOCUST, K6, VEGETA, HAR, MOONCAKE, PARQUET, CSV];

/** Formats that can be imported, besides arrival traces (`arrival-trace.ts`). */
export const IMPORT_FORMATS = { har: openHar, gor: openGor, mooncake: openMooncake } as const;
