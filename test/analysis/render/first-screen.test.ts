import { describe, expect, test } from 'vitest';
import { banner, foldedParts, tilesOf } from '../../../src/analysis/render/html.ts';
import type { Tone } from '../../../src/core/text.ts';

const TONES: readonly Tone[] = ['good', 'bad', 'warn', 'plain'];
const HOSTILE = '</h1><img src=x onerror=alert(1)>';

describe('what a page begins with', () => {
  test('has a form of its own for each verdict, not a colour alone', () => {
    const shown = TONES.map((tone) => {
      const html = banner({ title: 't', verdict: 'V', tone, headline: 'h', lines: [] }, 'UTC');
      return html.slice(html.indexOf('<svg'), html.indexOf('</svg>'));
    });
    expect(new Set(shown).size).toBe(TONES.length);
  });

  test('says the first line and the zone, and holds names as text', () => {
    const html = banner(
      { title: 't', verdict: null, tone: 'plain', headline: HOSTILE, lines: [HOSTILE, 'second'] },
      'Asia/Kolkata',
    );
    expect(html).toContain('no verdict');
    expect(html).toContain('All times: Asia/Kolkata');
    expect(html).not.toContain('second');
    expect(html).not.toContain('<img');
  });

  test('has at most six tiles', () => {
    const tiles = Array.from({ length: 9 }, (_, at) => ({ label: `${at}`, value: '1', note: '' }));
    expect(tilesOf(tiles).match(/<li /g)).toHaveLength(6);
    expect(tilesOf([])).toBe('');
  });

  test('leaves out of its contents what has nothing to show', () => {
    const html = foldedParts([
      { id: 'a', title: 'A', html: 'x' },
      { id: 'b', title: 'B', html: '' },
    ]);
    expect(html).toContain('href="#a"');
    expect(html).not.toContain('#b');
    expect(foldedParts([{ id: 'b', title: 'B', html: '' }])).toBe('');
  });
});
