import { escaped } from './escape.ts';

/** What every chart says of itself. */
export interface FigureText {
  readonly title: string;
  /** What its numbers are measured in. */
  readonly unit: string;
  /** Where they come from. */
  readonly source: string;
  /** What a reader should look for. */
  readonly lookFor: string;
}

/** A chart with its words. `body` is HTML. */
export function figure({ title, unit, source, lookFor }: FigureText, body: string): string {
  return `<figure><h3>${escaped(title)}</h3><p class="soft">Unit: ${escaped(unit)}. Source: ${escaped(source)}.</p>${body}<figcaption>Look for: ${escaped(lookFor)}</figcaption></figure>`;
}

/** Names and values, as a row of cards. */
export function facts(pairs: readonly (readonly [name: string, value: string])[]): string {
  const cards = pairs.map(
    ([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(value)}</dd></div>`,
  );
  return `<dl class="facts">${cards.join('')}</dl>`;
}

/** Sentences, what matters most first. */
export function findings(sentences: readonly string[]): string {
  return `<ul class="findings">${sentences.map((sentence) => `<li>${escaped(sentence)}</li>`).join('')}</ul>`;
}

/** A section under a heading; nothing where its body is empty. */
export function section(title: string, body: string): string {
  return body === '' ? '' : `<section><h2>${escaped(title)}</h2>${body}</section>`;
}

export interface TableColumn {
  readonly title: string;
  readonly kind: 'name' | 'number';
}

/** A table that scrolls by itself where it is too wide. `toneOf` says which cells are good or bad news. */
export function table(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  toneOf: (cell: string) => 'good' | 'bad' | null = () => null,
): string {
  const cells = (row: readonly string[], tag: 'td' | 'th') =>
    columns
      .map(({ kind }, at) => {
        const cell = row[at] ?? '';
        const tone = tag === 'td' ? toneOf(cell) : null;
        return `<${tag} class="${kind}${tone === null ? '' : ` ${tone}`}">${escaped(cell)}</${tag}>`;
      })
      .join('');
  const head = cells(
    columns.map(({ title }) => title),
    'th',
  );
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('')}</tbody></table></div>`;
}
