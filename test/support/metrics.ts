/** The samples of a scrape by name and labels as written: `reprise_lost_bytes_total{reason="quota"}`. */
export function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const space = line.lastIndexOf(' ');
    samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}

/** The difference of the account's two sides in a scrape. Both numbers must be 0. */
export function scrapeImbalance(samples: ReadonlyMap<string, number>): { bytes: number; turns: number } {
  const sum = (prefix: string) =>
    [...samples].reduce((total, [name, value]) => (name.startsWith(prefix) ? total + value : total), 0);
  const left = (unit: string) =>
    sum(`reprise_seen_${unit}_total`) -
    sum(`reprise_recorded_${unit}_total`) -
    sum(`reprise_lost_${unit}_total`) -
    sum(`reprise_omitted_${unit}_total`) -
    sum(`reprise_pending_${unit}`);
  return { bytes: left('bytes'), turns: left('turns') };
}
