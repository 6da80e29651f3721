import { escaped } from './escape.ts';

export interface HeatMapParts {
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** Row by row; null where nothing is known. */
  readonly values: readonly (number | null)[];
  readonly text: (value: number) => string;
  readonly description: string;
  /** Room for the names of rows; default 40, which is that of a weekday. */
  readonly labelWidth?: number;
}

const CELL_WIDTH = 24;
const CELL_HEIGHT = 20;
const LABEL_WIDTH = 40;
const TOP = 18;
/** A map of few columns is not drawn larger than one of a day's hours. */
const LEAST_COLUMNS = 24;
/** The least that is not nothing is still seen. */
const FAINTEST = 0.06;

/** Values on a grid, the darker the greater; cells of which nothing is known are drawn as an outline. */
export function heatMap({
  rows,
  columns,
  values,
  text,
  description,
  labelWidth = LABEL_WIDTH,
}: HeatMapParts): string {
  const greatest = values.reduce<number>((most, value) => Math.max(most, value ?? 0), 0);
  const width = labelWidth + Math.max(LEAST_COLUMNS, columns.length) * CELL_WIDTH;
  const height = TOP + rows.length * CELL_HEIGHT;
  const marks = columns.map((label, at) =>
    label === ''
      ? ''
      : `<text x="${labelWidth + at * CELL_WIDTH + CELL_WIDTH / 2}" y="12" text-anchor="middle">${escaped(label)}</text>`,
  );
  const lines = rows.map((label, row) => {
    const y = TOP + row * CELL_HEIGHT;
    const cells = columns.map((_, column) => {
      const value = values[row * columns.length + column] ?? null;
      const place = `x="${labelWidth + column * CELL_WIDTH + 1}" y="${y + 1}" width="${CELL_WIDTH - 2}" height="${CELL_HEIGHT - 2}"`;
      if (value === null) return `<rect class="none" ${place}/>`;
      const opacity = value === 0 || greatest === 0 ? 0 : FAINTEST + (1 - FAINTEST) * (value / greatest);
      return `<rect ${place} fill-opacity="${opacity.toFixed(3)}"><title>${escaped(label)} ${column}: ${escaped(text(value))}</title></rect>`;
    });
    return `<text x="0" y="${y + CELL_HEIGHT / 2 + 4}">${escaped(label)}</text>${cells.join('')}`;
  });
  return `<div class="heat scroll"><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(description)}">${marks.join('')}${lines.join('')}</svg></div><p class="soft">darkest: ${escaped(text(greatest))}; empty: 0; outlined: not known</p>`;
}
