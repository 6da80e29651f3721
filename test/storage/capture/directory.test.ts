import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KeyedHash } from '../../../src/core/keyed-hash.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import {
  assertOwn,
  defaultMaxDiskBytes,
  defaultShareBytes,
  formatSegmentName,
  hourOf,
  makeDirectories,
  ownerOfNewFile,
  parseSegmentName,
  resolveCaptureDirectory,
} from '../../../src/storage/capture/directory.ts';
import { loadHashKey } from '../../../src/storage/capture/keys.ts';
import { DirectoryLock } from '../../../src/storage/capture/lock.ts';
import { captureOf, newCapture } from '../../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { canGive } from '../../support/host-abilities.ts';
import { RunningProcess, runProcess } from '../../support/process.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

describe('the directories above a file', () => {
  it('are made, though one of them is there once those above it are: another process made it meanwhile', () => {
    // `run/.` is there as soon as `run` is, as if another process had been quicker.
    const directory = join(temporaryDirectory(), 'out/run');
    makeDirectories(`${directory}/.`);
    expect(statSync(directory).isDirectory()).toBe(true);
  });
});

describe('the directory of a capture', () => {
  it('that another user recorded is not called something else: what lacks is the permission', async () => {
    const named = temporaryDirectory();
    mkdirSync(join(named, 'shared'));
    for (const open of [named, join(named, 'shared')]) chmodSync(open, 0o755);
    for (const closed of ['closed', 'shared/reprise']) mkdirSync(join(named, closed), { mode: 0o000 });
    const places = ['closed', 'shared', 'closed/reprise'].map((place) => join(named, place));
    const script = `
      import { resolveCaptureDirectory } from ${JSON.stringify(join(repositoryRoot, 'src/storage/capture/directory.ts'))};
      if (process.getuid() === 0) process.seteuid(65534);
      for (const place of ${JSON.stringify(places)}) {
        try {
          resolveCaptureDirectory(place, 'read');
        } catch ({ message, hint }) {
          console.log(message + '; ' + hint);
        }
      }`;
    const { stdout } = await runProcess(process.execPath, ['--input-type=module', '-e', script]);
    const us = process.geteuid?.();
    const lacks = `cannot be entered: this user (${us === 0 ? 65_534 : us}) lacks the permission; Run this as the user that records`;
    expect(stdout.split('\n').slice(0, -1)).toEqual([
      expect.stringContaining(`${join(named, 'closed')} ${lacks} (${us}): `),
      expect.stringContaining(`${join(named, 'shared/reprise')} ${lacks} (${us}): `),
      expect.stringContaining(`${join(named, 'closed/reprise')} ${lacks}: `),
    ]);
  });

  it('is the one that was named when there is none yet, made with its parents and private', () => {
    const named = join(temporaryDirectory(), 'a', 'b');
    const umask = process.umask(0);
    try {
      expect(resolveCaptureDirectory(named, 'write')).toBe(named);
    } finally {
      process.umask(umask);
    }
    expect(modeOf(named)).toBe('700');
  });

  it('is reprise below one that others use, whose mode stays as it is', () => {
    const named = temporaryDirectory();
    chmodSync(named, 0o755);
    expect(resolveCaptureDirectory(named, 'write')).toBe(join(named, 'reprise'));
    expect([modeOf(named), modeOf(join(named, 'reprise'))]).toEqual(['755', '700']);
    expect(resolveCaptureDirectory(named, 'write')).toBe(join(named, 'reprise'));
  });

  it('is found again by writers and readers, under either name', () => {
    const fresh = join(temporaryDirectory(), 'capture');
    captureOf([exchangeOf()], { directory: resolveCaptureDirectory(fresh, 'write') });
    expect(resolveCaptureDirectory(fresh, 'write')).toBe(fresh);
    expect(resolveCaptureDirectory(fresh, 'read')).toBe(fresh);
    const shared = temporaryDirectory();
    const own = resolveCaptureDirectory(shared, 'write');
    loadHashKey(own, null, null);
    expect(resolveCaptureDirectory(shared, 'read')).toBe(own);
    expect(resolveCaptureDirectory(own, 'read')).toBe(own);
  });

  it('is taken back to 0700 when a volume was mounted with wider modes', () => {
    const directory = newCapture();
    loadHashKey(directory, null, null);
    chmodSync(directory, 0o2770);
    resolveCaptureDirectory(directory, 'write');
    expect(modeOf(directory)).toBe('700');
  });

  it('is never a link or a file', () => {
    const named = temporaryDirectory();
    const elsewhere = temporaryDirectory();
    symlinkSync(elsewhere, join(named, 'reprise'));
    const write = (path: string) => () => resolveCaptureDirectory(path, 'write');
    expect(write(named)).toThrow(
      expect.objectContaining({ code: 'OUTPUT_UNWRITABLE', message: expect.stringContaining('is a link') }),
    );
    const file = join(elsewhere, 'file');
    writeFileSync(file, '');
    expect(write(file)).toThrow(expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }));
    expect(write(join(file, 'below'))).toThrow(expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }));
  });

  it.skipIf(!canGive)('that another user prepared is refused, and their hash key (needs root)', () => {
    const named = temporaryDirectory();
    const own = resolveCaptureDirectory(named, 'write');
    loadHashKey(own, null, null);
    const foreign = {
      code: 'OUTPUT_UNWRITABLE',
      message: expect.stringContaining('belongs to another user (65534)'),
    };
    chownSync(join(own, 'hash.key'), 65_534, 65_534);
    expect(() => loadHashKey(own, null, null)).toThrow(expect.objectContaining(foreign));
    chownSync(own, 65_534, 65_534);
    expect(() => resolveCaptureDirectory(named, 'write')).toThrow(expect.objectContaining(foreign));
    // A reader may be anybody whom the file system lets in.
    expect(resolveCaptureDirectory(named, 'read')).toBe(own);
  });

  it('of ours is taken up again where a file server shows our files as of another user', () => {
    const directory = resolveCaptureDirectory(temporaryDirectory(), 'write');
    const shown = Object.assign(lstatSync(directory), { uid: 65_534 });
    expect(() => assertOwn(directory, shown, () => 65_534)).not.toThrow();
    const prepared = Object.assign(lstatSync(directory), { uid: 1_000 });
    const foreign = expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' });
    expect(() => assertOwn(directory, prepared, () => 65_534)).toThrow(foreign);
    expect(() => assertOwn(directory, prepared)).toThrow(foreign);
    expect(ownerOfNewFile(directory)).toBe(process.geteuid?.());
    expect(ownerOfNewFile(join(directory, 'missing'))).toBeNull();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('whose hash key is a link is refused: its target may be known to others', () => {
    const own = newCapture();
    const elsewhere = join(temporaryDirectory(), 'key');
    writeFileSync(elsewhere, Buffer.alloc(32));
    symlinkSync(elsewhere, join(own, 'hash.key'));
    expect(() => loadHashKey(own, null, null)).toThrow(
      expect.objectContaining({
        code: 'OUTPUT_UNWRITABLE',
        message: expect.stringContaining('it is a link'),
      }),
    );
  });

  it.each([
    ['is not there', (root: string) => join(root, 'absent'), /no such directory/],
    ['is empty', (root: string) => root, /is empty/],
    [
      'holds other things',
      (root: string) => {
        writeFileSync(join(root, 'notes.sqlite'), '');
        return root;
      },
      /no segment/,
    ],
    [
      'is a file',
      (root: string) => {
        writeFileSync(join(root, 'file'), '');
        return join(root, 'file');
      },
      /it is a file/,
    ],
  ])('that %s is no capture, and the error says why', (_, make, why) => {
    const path = make(temporaryDirectory());
    expect(() => resolveCaptureDirectory(path, 'read')).toThrow(
      expect.objectContaining({
        code: 'CAPTURE_NOT_FOUND',
        message: expect.stringMatching(why),
        hint: expect.stringContaining('reprise import'),
      }),
    );
  });

  it('may take ten GiB, or half of what is free, also before it exists', () => {
    const bytes = defaultMaxDiskBytes(join(temporaryDirectory(), 'not', 'yet'));
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(LIMITS.maxDiskBytes);
  });

  it('keeps its share from one start to the next, however much of it is used by then', () => {
    const GIB = 2 ** 30;
    expect(defaultShareBytes(16 * GIB, 0)).toBe(8 * GIB);
    expect(defaultShareBytes(10 * GIB, 6 * GIB)).toBe(8 * GIB);
    expect(defaultShareBytes(8 * GIB, 8 * GIB)).toBe(8 * GIB);
    expect(defaultShareBytes(300 * GIB, 0)).toBe(LIMITS.maxDiskBytes);
  });
});

describe('the name of a segment', () => {
  it('holds hour, recorder and number, and is read back', () => {
    const name = { hour: hourOf(TEST_EPOCH_US), recorder: '7f3a9c21', sequence: 12_345 };
    expect(formatSegmentName(name)).toBe('20261124T15-7f3a9c21-12345.sqlite');
    expect(parseSegmentName('20261124T15-7f3a9c21-12345.sqlite')).toEqual(name);
    expect(hourOf(TEST_EPOCH_US + 3_599_999_999)).toBe(name.hour);
    expect(hourOf(TEST_EPOCH_US + 3_600_000_000)).toBe(name.hour + 1);
  });

  it.each([
    '20261124T15-7f3a9c21-0001.sqlite-wal',
    '20261324T15-a-0001.sqlite',
    'run.sqlite',
    '20261124T15-../x-0001.sqlite',
  ])('is not %s', (file) => {
    expect(parseSegmentName(file)).toBeNull();
  });
});

describe('the hash key', () => {
  it('is made once, private, and told apart from others by its fingerprint', () => {
    const directory = newCapture();
    const key = loadHashKey(directory, null, null);
    expect(key.byteLength).toBe(32);
    expect(modeOf(join(directory, 'hash.key'))).toBe('600');
    expect(Buffer.compare(loadHashKey(directory, null, null), key)).toBe(0);
    const other = loadHashKey(newCapture(), null, null);
    expect(new KeyedHash(other).fingerprint()).not.toBe(new KeyedHash(key).fingerprint());
  });

  it('is the content of a file that is given, when it is long enough', () => {
    const file = join(temporaryDirectory(), 'key');
    writeFileSync(file, 'a key that a fleet shares');
    const directory = newCapture();
    expect(String(loadHashKey(directory, file, null))).toBe('a key that a fleet shares');
    expect(() => readFileSync(join(directory, 'hash.key'))).toThrow(/ENOENT/);
    writeFileSync(file, 'short');
    expect(() => loadHashKey(directory, file, null)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining('5 bytes') }),
    );
    expect(() => loadHashKey(directory, `${file}.absent`, null)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    );
  });

  it('of a capture that was cut short is refused, not used', () => {
    const directory = newCapture();
    writeFileSync(join(directory, 'hash.key'), '');
    expect(() => loadHashKey(directory, null, null)).toThrow(
      expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }),
    );
  });

  it('gives equal hashes for equal bytes, however they come, and other ones under another key', () => {
    const hash = new KeyedHash(Buffer.alloc(32, 1));
    const running = hash.start();
    running.update(Buffer.from('ab'));
    running.update(Buffer.from('c'));
    const whole = hash.ofBody(Buffer.from('abc'));
    expect(Buffer.compare(running.digest(), whole)).toBe(0);
    expect(whole.byteLength).toBe(16);
    expect(Buffer.compare(new KeyedHash(Buffer.alloc(32, 2)).ofBody(Buffer.from('abc')), whole)).not.toBe(0);
    expect(Buffer.compare(hash.ofIdentity('client', 'x'), hash.ofIdentity('session', 'x'))).not.toBe(0);
  });
});

describe('the lock of a directory', () => {
  const HOLD = `
    const { DirectoryLock } = await import(process.argv[1] + '/src/storage/capture/lock.ts');
    DirectoryLock.acquire(process.argv[2]);
    for (let turn = 0; turn < 5; turn += 1) {
      gc();
      await new Promise(setImmediate);
    }
    console.log('held');
    setInterval(() => {}, 1000);
  `;

  it('is had by one at a time, and names the process that has it', () => {
    const directory = newCapture();
    const lock = DirectoryLock.acquire(directory);
    expect(() => DirectoryLock.acquire(directory)).toThrow(
      expect.objectContaining({
        code: 'OUTPUT_UNWRITABLE',
        message: expect.stringContaining(`process ${process.pid} on `),
      }),
    );
    lock.release();
    DirectoryLock.acquire(directory).release();
    mkdirSync(join(directory, 'sub'));
  });

  it('is kept by a second try of its own process that is refused: others are still kept out', () => {
    const directory = newCapture();
    const lock = DirectoryLock.acquire(directory);
    expect(() => DirectoryLock.acquire(directory)).toThrow();
    const tryIt = `
      const { DirectoryLock } = await import(process.argv[1] + '/src/storage/capture/lock.ts');
      try {
        DirectoryLock.acquire(process.argv[2]);
        console.log('had');
      } catch (error) {
        console.log(error.code);
      }
    `;
    const parameters = ['--input-type=module', '-e', tryIt, repositoryRoot, directory];
    expect(spawnSync(process.execPath, parameters).stdout.toString()).toBe('OUTPUT_UNWRITABLE\n');
    lock.release();
    expect(spawnSync(process.execPath, parameters).stdout.toString()).toBe('had\n');
  });

  it('goes with the process that held it, even one that was killed, and not with what its garbage takes', async () => {
    const directory = newCapture();
    const holder = new RunningProcess(process.execPath, [
      '--expose-gc',
      '--input-type=module',
      '-e',
      HOLD,
      repositoryRoot,
      directory,
    ]);
    await holder.waitFor('stdout', /held/);
    expect(() => DirectoryLock.acquire(directory)).toThrow(new RegExp(`process ${holder.child.pid} on `));
    await holder.kill('SIGKILL');
    DirectoryLock.acquire(directory).release();
  });
});
