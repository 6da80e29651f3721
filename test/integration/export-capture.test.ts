import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { live } from '../support/lives.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe('reprise export capture', () => {
  it('refuses a window, several captures for another format, and a place that is taken', async () => {
    const capture = live({ id: 'aa', hours: 1 });
    const out = join(temporaryDirectory(), 'copy');
    const codes = [
      ['export', 'capture', capture, '--out', out, '--window', 'peak=1m'],
      ['export', 'csv', capture, capture, '--out', out],
      ['export', 'capture', capture, '--out', capture],
    ];
    for (const args of codes) expect((await runCommand(args)).status).not.toBe(0);
    expect(existsSync(out)).toBe(false);
  });
});
