/** A table with what every chart says of itself; its cells may hold recorded text. */
export interface ReportTable {
  readonly title: string;
  /** What its numbers are measured in. */
  readonly unit: string;
  /** Where they come from. */
  readonly source: string;
  /** What a reader should look for. */
  readonly lookFor: string;
  readonly columns: readonly { readonly title: string; readonly kind: 'name' | 'number' }[];
  readonly rows: readonly (readonly string[])[];
  /** Which cells are good or bad news, where a form can show it. */
  readonly toneOf?: (cell: string) => 'good' | 'bad' | null;
}

/** Columns of names, then columns of numbers. */
export function columnsOf(names: readonly string[], numbers: readonly string[]): ReportTable['columns'] {
  return [
    ...names.map((title) => ({ title, kind: 'name' as const })),
    ...numbers.map((title) => ({ title, kind: 'number' as const })),
  ];
}
