import { copyFileSync, existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { openForSealing } from '../../src/storage/database.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { finishedSegment, newCapture } from '../support/captures.ts';

const EXCHANGES = 300;

/** What a sealer leaves that is killed while it rewrites a segment: pages half written, and the journal of it. */
function halfRewritten(): string {
  const path = finishedSegment(EXCHANGES);
  const sealer = openForSealing(path);
  sealer.pragma('journal_mode = DELETE');
  sealer.pragma('cache_size = 5');
  sealer.exec('BEGIN');
  sealer.exec('UPDATE exchange SET status = 599');
  sealer.exec('CREATE TABLE more (content)');
  sealer.exec('INSERT INTO more SELECT randomblob(3000) FROM exchange');
  const directory = newCapture();
  for (const suffix of ['', '-journal']) {
    copyFileSync(`${path}${suffix}`, join(directory, `${basename(path)}${suffix}`));
  }
  sealer.close();
  expect(existsSync(join(directory, `${basename(path)}-journal`))).toBe(true);
  return directory;
}

describe('a segment whose sealer was killed while it rewrote it', () => {
  it('is read as it was before, by whoever comes first', () => {
    const reader = new CaptureReader(halfRewritten());
    const rows = [...reader.rows()];
    reader.close();
    expect(rows).toHaveLength(EXCHANGES);
    expect(rows.every(({ status }) => status === 200)).toBe(true);
  });

  it('does not keep the capture from being inspected', () => {
    expect(inspectCapture(halfRewritten())).toMatchObject({ exchanges: EXCHANGES, damaged: [] });
  });
});
