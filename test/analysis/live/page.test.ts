import { expect, test } from 'vitest';
import { type LiveChart, type LiveView, livePage, livePolicy } from '../../../src/analysis/live/page.ts';
import { columnsOf } from '../../../src/analysis/render/table.ts';

const ASSETS = { script: 'let a;', style: 'p{}' };
const VIEW: LiveView = {
  title: 'Replay',
  state: 'RUN',
  tone: 'good',
  word: 'sending',
  sentence: 'at 1.5x',
  about: ['</main><script>alert(1)</script>'],
  progress: { share: 0.25, text: '3 s left' },
  tiles: [],
  facts: [['in flight', 'in-flight', '7']],
  charts: [],
  tables: [{ key: 't', title: 'T', columns: columnsOf(['a'], []), rows: [['<b>']] }],
};

function chart(values: readonly (number | null)[], limits: LiveChart['limits'] = []): string {
  const one = { key: 'c', title: 'C', unit: 'ms', note: '', at: values.map((_, at) => at), limits };
  return livePage({ ...VIEW, charts: [{ ...one, lines: [{ label: 'l', values }] }] }, ASSETS);
}

test('nothing that was recorded becomes part of the page', () => {
  const html = livePage(VIEW, ASSETS);
  // The data of the charts, and the script.
  expect(html.match(/<script/g)).toHaveLength(2);
  expect(html).toContain('&#60;b&#62;');
});

test('the policy allows this script and this style, and questions to where the page came from', () => {
  expect(livePolicy(ASSETS)).toMatch(
    /^default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; connect-src 'self'; frame-ancestors 'none'/,
  );
});

test('a page without a script loads itself again, and says so', () => {
  const html = livePage(VIEW, ASSETS);
  expect(html).toContain('<noscript><meta http-equiv="refresh" content="5"></noscript>');
  expect(html).toContain('<noscript><p>JavaScript is off');
});

test('the first value lies at the left end, the newest at the right, and what is not known interrupts the line', () => {
  const html = chart([...Array.from({ length: 3 }, () => 2), null, 4]);
  const points = [...html.matchAll(/points="([^"]*)"/g)].map(([, each]) => each);
  expect(points).toEqual(['0,103.0 200,103.0 400,103.0', '800,6.0 802,6.0']);
  expect(html).toContain('l 4 ms</span>');
});

test('a limit above all values is still in the picture', () => {
  expect(chart([5], [{ label: 'p(95)<10', at: 10 }])).toContain(
    '<line class="limit" x1="0" x2="800" y1="6.0"',
  );
});

test('a chart without a value shows none', () => {
  expect(chart([null])).toContain('l –</span>');
});

test('the progress is a bar with the time left', () => {
  expect(livePage(VIEW, ASSETS)).toMatch(/<progress max="1" value="0.250"[^>]*><\/progress><span>3 s left</);
  expect(livePage({ ...VIEW, progress: null }, ASSETS)).not.toContain('<progress');
});
