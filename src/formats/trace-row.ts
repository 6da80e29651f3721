/** Which fields of a trace say what: column names of a CSV, keys or JSON pointers of a JSONL. */
export interface TraceFields {
  readonly time: string;
  readonly client: string | null;
  readonly session: string | null;
}

/** One row of a trace, its fields still text as they stand in the file. */
export interface TraceRow {
  /** Line of the file the row ends on, from 1. */
  readonly line: number;
  readonly time: string;
  /** Null when not asked for or empty. */
  readonly client: string | null;
  readonly session: string | null;
}
