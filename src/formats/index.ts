/** What this room offers to the command line. */
export {
  ArrivalImport,
  type ArrivalTally,
  type ArrivalTrace,
  MISSING_FROM_IMPORTS,
} from './arrivals.ts';
export { TIME_UNITS } from './exact-time.ts';
export {
  IMPORT_DEFAULTS,
  type ImportOptions,
  parseImportOptions,
  type RawImportOptions,
} from './import-options.ts';
export { loadPayloads, type PayloadPool } from './payload-pool.ts';
