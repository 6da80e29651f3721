import { copyFileSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { directoryBytes, fileSizesOf, segmentsOf } from '../../../src/storage/capture/directory.ts';
import { DirectoryLock } from '../../../src/storage/capture/lock.ts';
import { DiskQuota, Retention, SegmentExpiry } from '../../../src/storage/capture/quota.ts';
import { captureOf } from '../../support/captures.ts';
import { contentOf, conversation, forget, ofSession, verified } from '../../support/forgetting.ts';
import { StandingClock } from '../../support/standing-clock.ts';

const DAY_NS = 86_400e9;

/** A `forget` takes the manifest of the first segment at the last moment: after it was seen to be sealed. */
class Overtaken extends SegmentExpiry {
  #once = true;

  override expire(...[segment, why]: Parameters<SegmentExpiry['expire']>): boolean {
    if (this.#once) renameSync(`${segment.path}.manifest.json`, `${segment.path}.rewriting.json`);
    this.#once = false;
    return super.expire(segment, why);
  }
}

describe('a segment that a forget is just putting in its place', () => {
  it('is passed over by the quota, which takes the next: no batch is lost for it', () => {
    const directory = captureOf(conversation());
    const clock = new StandingClock();
    const [first, second] = segmentsOf(directory);
    const expiry = new Overtaken(directory, clock);
    const quota = new DiskQuota(directory, 1024 * 1024, expiry, clock);
    quota.makeRoom({ file: null, bytes: 0 }, 1024 * 1024);
    expect(expiry.pending.map(({ file }) => file)).toEqual([second?.file]);
    expect(existsSync(first?.path ?? '')).toBe(true);
  });

  it('does not make the quota expire other segments for the room that its copy takes', () => {
    const directory = captureOf(conversation());
    const clock = new StandingClock();
    const [first] = segmentsOf(directory);
    const bytes = directoryBytes(directory, fileSizesOf(directory));
    const expiry = new SegmentExpiry(directory, clock);
    const quota = new DiskQuota(directory, bytes + 512 * 1024, expiry, clock);
    const makeRoom = () => quota.makeRoom({ file: null, bytes: 0 }, 64 * 1024);
    expect(makeRoom()).toBe(true);
    writeFileSync(`${first?.path}.rewriting`, Buffer.alloc(4 * 1024 * 1024));
    clock.monotonicNs += 10e9;
    expect(makeRoom()).toBe(true);
    // The copy takes the place of the segment, which counts as one that is sealed all the while.
    renameSync(`${first?.path}.manifest.json`, `${first?.path}.rewriting.json`);
    clock.monotonicNs += 10e9;
    expect(makeRoom()).toBe(true);
    expect(expiry.pending).toEqual([]);
  });

  it('is passed over by retention, which finds it the next time', () => {
    const directory = captureOf(conversation());
    const clock = new StandingClock();
    const [first, second] = segmentsOf(directory);
    const expiry = new Overtaken(directory, clock);
    const retention = new Retention(directory, 1_000, expiry, clock);
    const expired = () => expiry.pending.map(({ file }) => file);
    const enforce = () => {
      clock.monotonicNs += DAY_NS;
      clock.wallUs += DAY_NS / 1000;
      retention.enforce();
    };
    enforce();
    expect(expired()).toEqual([second?.file]);
    renameSync(`${first?.path}.rewriting.json`, `${first?.path}.manifest.json`);
    enforce();
    expect(expired()).toEqual([second?.file, first?.file]);
  });
});

describe('a segment that a recorder died over while it took it away', () => {
  const halfExpired = () => {
    const directory = captureOf(conversation());
    const path = segmentsOf(directory)[0]?.path ?? '';
    renameSync(`${path}.manifest.json`, `${path}.expired.json`);
    return { directory, path };
  };

  it('is gone before a forget says that nothing is left, and its expiry is still to be recorded', () => {
    const { directory, path } = halfExpired();
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ complete: true, exchanges: 15 });
    expect(existsSync(path)).toBe(false);
    expect(existsSync(`${path}.expired.json`)).toBe(true);
  });

  it('does not come back by half where a forget had been interrupted at it before', () => {
    const { directory, path } = halfExpired();
    copyFileSync(`${path}.expired.json`, `${path}.rewriting.json`);
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ complete: true, exchanges: 15 });
    expect(verified(directory)).toEqual({ ok: true, exchanges: 15, leftovers: [] });
  });

  it('goes with a manifest that it was given meanwhile', () => {
    const { directory, path } = halfExpired();
    copyFileSync(`${path}.expired.json`, `${path}.manifest.json`);
    forget(directory, ofSession('Adalberta'));
    expect(verified(directory)).toMatchObject({ ok: true, exchanges: 15 });
  });

  it('is told of where a recorder is at work, or nothing may be changed', () => {
    const { directory, path } = halfExpired();
    const remaining = [{ file: basename(path), why: 'expiring', exchanges: null }];
    expect(forget(directory, ofSession('Adalberta'), { dryRun: true })).toMatchObject({ remaining });
    const lock = DirectoryLock.acquire(directory);
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ complete: false, remaining });
    lock.release();
  });
});

describe('a segment that retention takes while a forget works', () => {
  it('is no damage, and nothing of it remains', () => {
    const directory = captureOf(conversation());
    const [first] = segmentsOf(directory);
    const takeFirst = (file: string) => {
      if (file !== first?.file) return;
      renameSync(`${first.path}.manifest.json`, `${first.path}.expired.json`);
      rmSync(first.path);
      // A reader that stood just before it sees the manifest still, and then no file.
      renameSync(`${first.path}.expired.json`, `${first.path}.manifest.json`);
    };
    const document = forget(directory, ofSession('Adalberta'), { onSegment: takeFirst });
    expect(document).toMatchObject({ complete: true, remaining: [] });
    expect(document.segments.map(({ file }) => file)).not.toContain(first?.file);
    rmSync(`${first?.path}.manifest.json`);
    expect(contentOf(directory).length).toBeLessThan(60);
    expect(verified(directory).leftovers).toEqual([]);
  });
});
