import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { SealHook, type SealHookOptions } from '../../../src/app/recording/seal-hook.ts';
import { segmentsOf, unhandedSegments } from '../../../src/storage/capture/directory.ts';
import { captureOf } from '../../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { LogBook } from '../../support/log-book.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

/** A capture of sealed segments, one for each hour. */
function sealed(hours: number): string {
  return captureOf(
    Array.from({ length: hours }, (_, hour) =>
      exchangeOf({ arrivalUs: TEST_EPOCH_US + hour * 3_600_000_000 }),
    ),
  );
}

function hookOf(command: string, options: Partial<SealHookOptions> = {}) {
  const log = new LogBook();
  return { log, hook: new SealHook({ command, logger: log, retryMs: 10, ...options }) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe('the seal hook', () => {
  it('gives the command segment and manifest, as arguments and variables, oldest first, and none twice', async () => {
    const directory = sealed(3);
    const out = join(temporaryDirectory(), 'out');
    const { hook, log } = hookOf(
      `cat > /dev/null; echo "$1 $2 $REPRISE_SEGMENT $REPRISE_MANIFEST $(ls "$1" "$2" | wc -l)" >> ${out}`,
    );
    await hook.resume(directory);
    expect(hook.pending).toBe(3);
    await until(() => hook.pending === 0);
    const paths = segmentsOf(directory).map(({ path }) => path);
    expect(readFileSync(out, 'utf8')).toBe(
      paths.map((path) => `${path} ${path}.manifest.json ${path} ${path}.manifest.json 2\n`).join(''),
    );
    for (const path of paths) expect(statSync(`${path}.handed`)).toMatchObject({ size: 0 });
    expect(await unhandedSegments(directory)).toEqual([]);
    await hook.resume(directory);
    await hook.settle(5_000);
    expect(readFileSync(out, 'utf8').split('\n')).toHaveLength(4);
    expect(log.lines).toEqual([]);
  });

  it('runs one command at a time, at low priority', async () => {
    const directory = sealed(4);
    const folder = temporaryDirectory();
    // It is given its priority when it runs already: now or a little later.
    const lowered =
      'for look in 1 2 3 4 5 6 7 8 9; do sleep 0.03; [ $(ps -o ni= -p $$) -eq 15 ] && break; done';
    const { hook, log } = hookOf(
      `mkdir ${folder}/lock || exit 1; ${lowered}; ps -o ni= -p $$ >> ${folder}/nice; rmdir ${folder}/lock`,
    );
    await hook.resume(directory);
    // At low priority nobody knows how long it takes, and a deadline would end it.
    await until(() => hook.pending === 0);
    await hook.settle(5_000);
    expect(log.lines).toEqual([]);
    const niceness = readFileSync(join(folder, 'nice'), 'utf8').trim().split(/\s+/).map(Number);
    expect(niceness).toEqual([15, 15, 15, 15]);
  });

  it('tries again after a failure, later and later, and says so once', async () => {
    const directory = sealed(2);
    const folder = temporaryDirectory();
    const { hook, log } = hookOf(
      `echo x >> ${folder}/tries; [ $(wc -l < ${folder}/tries) -gt 6 ] || { echo "no such bucket" >&2; exit 7; }`,
    );
    await hook.resume(directory);
    await until(() => hook.pending === 0);
    expect(log.texts('error')).toEqual(['segment was not handed over; trying again']);
    expect(log.lines[0]?.fields).toMatchObject({ reason: 'it ended with 7: no such bucket' });
    expect(log.texts('info')).toEqual(['segments are handed over again']);
    expect(readFileSync(join(folder, 'tries'), 'utf8').split('\n')).toHaveLength(9);
  });

  it('ends a command that takes too long, with all it started', async () => {
    const directory = sealed(1);
    const pids = join(temporaryDirectory(), 'pids');
    writeFileSync(pids, '');
    const started = () => readFileSync(pids, 'utf8').split('\n').slice(0, -1).map(Number);
    const { hook, log } = hookOf(`sleep 77 & echo $! >> ${pids}; wait`, { commandLimitMs: 200 });
    await hook.resume(directory);
    await until(() => log.texts('error').length > 0);
    expect(log.lines[0]?.fields).toMatchObject({ reason: 'it took longer than 200 ms' });
    // One that was ended before it came to write is tried again.
    await until(() => started().length > 0);
    const [child] = started();
    expect(child).toBeGreaterThan(1);
    // Gone, or waiting for whoever inherits orphans here to notice.
    await until(
      () => !existsSync(`/proc/${child}/stat`) || /\) Z /.test(readFileSync(`/proc/${child}/stat`, 'utf8')),
    );
    await hook.settle(10);
  });

  it('does not wait for what a command left in a session of its own, which holds its output', async () => {
    const directory = sealed(2);
    const pids = join(temporaryDirectory(), 'pids');
    // Before it is in its own session it would be ended with the command.
    const leave = `setsid sh -c 'echo $$ > ${pids}; exec sleep 77' & while [ ! -s ${pids} ]; do sleep 0.01; done`;
    const { hook, log } = hookOf(`case "$1" in *0001.sqlite) ${leave};; esac`);
    try {
      await hook.resume(directory);
      await until(() => hook.pending === 0);
      await hook.settle(5_000);
      expect(await unhandedSegments(directory)).toEqual([]);
      expect(log.lines).toEqual([]);
    } finally {
      // Where it never came to write, what failed before is what is to be told.
      const left = existsSync(pids) ? Number(readFileSync(pids, 'utf8')) : 0;
      if (left > 0) process.kill(left);
    }
  });

  it('gives up at the deadline of a stop, and the next start hands over what is left', async () => {
    const directory = sealed(3);
    const folder = temporaryDirectory();
    const { hook, log } = hookOf(`touch ${folder}/begun; sleep 60; touch ${folder}/over`);
    await hook.resume(directory);
    await until(() => existsSync(join(folder, 'begun')));
    await hook.settle(150);
    expect(readdirSync(folder)).toEqual(['begun']);
    expect(hook.pending).toBe(3);
    expect(log.texts('warn')).toEqual([
      'segments were not handed over; the next start hands over those that still exist',
    ]);
    const { hook: next } = hookOf('true');
    await next.resume(dirname(directory));
    expect(next.pending).toBe(0);
    await next.resume(directory);
    await until(() => next.pending === 0);
    await next.settle(5_000);
    expect(await unhandedSegments(directory)).toEqual([]);
  });

  it('tries once more what failed before when it is to settle, and does not wait for a back-off', async () => {
    const directory = sealed(2);
    const tries = join(temporaryDirectory(), 'tries');
    const { hook, log } = hookOf(`echo x >> ${tries}; false`, { retryMs: 60_000 });
    await hook.resume(directory);
    await until(() => log.texts('error').length > 0);
    // Enough for two commands at low priority, and less than the back-off.
    await hook.settle(20_000);
    expect(hook.pending).toBe(2);
    expect(readFileSync(tries, 'utf8').split('\n').length - 1).toBe(3);
  });

  it('lets go of a segment that expired meanwhile', async () => {
    const directory = sealed(1);
    const [segment] = segmentsOf(directory);
    const { hook, log } = hookOf('true');
    rmSync(segment?.path ?? '', { force: true });
    hook.handOver(segment?.path ?? '');
    await until(() => hook.pending === 0);
    expect(log.texts('warn')).toEqual(['segment expired before it was handed over']);
    expect(existsSync(`${segment?.path}.handed`)).toBe(false);
  });

  it('leaves no mark beside a segment that expired while it was handed over', async () => {
    const directory = sealed(1);
    const { hook, log } = hookOf('rm -f "$1" "$2"');
    await hook.resume(directory);
    await until(() => hook.pending === 0);
    expect(readdirSync(directory).filter((file) => file.endsWith('.handed'))).toEqual([]);
    expect(log.texts('error')).toEqual([]);
  });

  it('hands a segment over again that a forget wrote anew while the command had the old one', async () => {
    const directory = sealed(1);
    const taken = join(temporaryDirectory(), 'taken');
    const anew = '[ -e "$1.once" ] || { touch "$1.once"; cp "$2" "$2.new"; mv "$2.new" "$2"; }';
    const { hook, log } = hookOf(`echo x >> ${taken}; ${anew}`);
    await hook.resume(directory);
    await until(() => hook.pending === 0);
    expect(readFileSync(taken, 'utf8')).toBe('x\nx\n');
    expect(log.lines[0]?.fields).toMatchObject({ reason: 'it was written again meanwhile' });
    expect(await unhandedSegments(directory)).toEqual([]);
  });

  it('finds the capture below a directory that others use, and leaves what is not sealed', async () => {
    const capture = sealed(2);
    const [first, second] = segmentsOf(capture);
    const volume = temporaryDirectory();
    cpSync(capture, join(volume, 'reprise'), { recursive: true });
    writeFileSync(join(volume, 'reprise', '20990101T00-open-0001.sqlite'), '');
    expect(await unhandedSegments(volume)).toEqual(
      [first, second].map((segment) => join(volume, 'reprise', segment?.file ?? '')),
    );
  });

  it('begins no command when its time runs out before one', async () => {
    const out = join(temporaryDirectory(), 'out');
    const { hook } = hookOf(`echo begun >> ${out}`);
    const [segment] = segmentsOf(sealed(1));
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    hook.handOver(segment?.path ?? '');
    const settled = hook.settle(10);
    // The disk was asked for the segment, and answers in a later turn of the loop.
    vi.advanceTimersByTime(10);
    vi.useRealTimers();
    await settled;
    expect(hook.pending).toBe(1);
    expect(existsSync(out)).toBe(false);
  });
});
