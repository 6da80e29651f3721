import { describe, expect, test } from 'vitest';
import { banner, foldedParts, tilesOf } from '../../../src/analysis/render/html.ts';
import { folded } from '../../../src/analysis/render/screen.ts';
import { calledHere } from '../../../src/analysis/render/table.ts';
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

  test('has its facts above the verdict, as text', () => {
    const html = banner(
      { title: 't', verdict: 'PASS', tone: 'good', headline: 'h', lines: [], facts: ['build 7', HOSTILE] },
      'UTC',
    );
    expect(html.indexOf('t · build 7 · ')).toBeGreaterThan(-1);
    expect(html.indexOf('build 7')).toBeLessThan(html.indexOf('PASS'));
    expect(html).not.toContain('<img');
  });

  test('leaves out what has nothing to show, and opens what it is told to', () => {
    const html = foldedParts([
      { id: 'a', title: 'A', html: 'x' },
      { id: 'b', title: 'B', html: '' },
      { id: 'c', title: 'C', html: 'z', isOpen: true },
    ]);
    expect(html).toContain('<details><summary><h2>A</h2>');
    expect(html).toContain('<details open><summary><h2>C</h2>');
    expect(html).not.toContain('id="b"');
    expect(foldedParts([{ id: 'b', title: 'B', html: '' }])).toBe('');
  });

  test('finds the commands of advice with their flags, and nothing of the sentence around them', () => {
    const called = (advice: string) => calledHere([{ advice }], { RUN: "my run's", A: 'a', B: 'b' })[0];
    expect(called('See them: reprise show RUN --slowest 20. Then give more.')).toEqual({
      advice: "See them: reprise show 'my run'\\''s' --slowest 20. Then give more.",
      commands: ["reprise show 'my run'\\''s' --slowest 20"],
    });
    expect(called('reprise show A --failed, and reprise show B --failed and more')?.commands).toEqual([
      'reprise show a --failed',
      'reprise show b --failed',
    ]);
    expect(called('reprise show RUN 7 and 9 too')?.commands).toEqual(["reprise show 'my run'\\''s' 7"]);
    expect(called('reprise replay CAPTURE --target A --target B --repeat 5.')?.commands).toEqual([
      'reprise replay CAPTURE --target A --target B --repeat 5',
    ]);
    // A copied command ended before the value of its last flag.
    expect(
      called("reprise show B --route 'POST /it'\\''s' --slowest 20. What failed: --failed.")?.commands,
    ).toEqual(["reprise show b --route 'POST /it'\\''s' --slowest 20"]);
    expect(called('reprise show A --slowest 20 --route "POST /v2". Then')?.commands).toEqual([
      'reprise show a --slowest 20 --route "POST /v2"',
    ]);
    expect(called('reprise selftest shows the highest rate')).not.toHaveProperty('commands');
  });
});

test('a text too long for its lines ends with a sentence, or else shows that it goes on', () => {
  const first = `Run it on cores that nothing else uses${', or on another host'.repeat(4)}.`;
  expect(folded(`${first} Its sender was behind${' by much'.repeat(9)}.`, '  ', 2).join(' ')).toMatch(
    /host\. …$/,
  );
  expect(folded(`${first} ${first}`, '', 1)[0]).toMatch(/ …$/);
  expect(folded(`${first} ${first}`, '').join(' ')).toBe(`${first} ${first}`);
});
