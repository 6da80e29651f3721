import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { archivedLife, leaveOut } from '../../storage/capture/archives.ts';
import { accountOf } from '../../support/accounts.ts';
import { captureOf, newCapture, writerOptions } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { arrivalAlone, exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { live } from '../../support/lives.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { StandingClock } from '../../support/standing-clock.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const DAY_US = 86_400_000_000;

/** Two recorders, two days, a loss and something left out; both recorders end an hour after the last arrival. */
function mixedCapture(): string {
  const directory = newCapture();
  const clock = new ManualClock(1_000_000_000, TEST_EPOCH_US + DAY_US + 3_600_000_000);
  captureOf(
    [
      exchangeOf(),
      exchangeOf({ arrivalUs: TEST_EPOCH_US + DAY_US, outcome: 'client_aborted', response: null }),
    ],
    {
      directory,
      fleetSize: 3,
    },
    clock,
  );
  const writer = new CaptureWriter(
    writerOptions(directory, { recorder: { id: 'other', host: 'second', startedUs: TEST_EPOCH_US } }),
    clock,
  );
  writer.append(exchangeOf());
  writer.setAccount(
    accountOf({
      lost: { queue_bytes: { exchanges: 1, bytes: 1_000 } },
      omitted: { sampled_out: { exchanges: 2, bytes: 50 }, unparsed: { exchanges: 9, bytes: 90 } },
    }),
  );
  writer.addProtocolUse({ protocol: 'http/1.1', connections: 2, bytes: 4_096 });
  writer.addAnchor({ monotonicNs: 1, epochUs: TEST_EPOCH_US });
  writer.close();
  return directory;
}

describe('reprise inspect', () => {
  it('reads a capture once that is named twice, by whatever names', async () => {
    const directory = mixedCapture();
    const link = join(temporaryDirectory(), 'link');
    symlinkSync(directory, link);
    const documents = await Promise.all(
      [[directory], [directory, `${directory}/`, link]].map(async (named) => {
        const { stdout } = await runCommand(['inspect', ...named, '--json']);
        return JSON.parse(stdout) as Record<string, unknown>;
      }),
    );
    expect(documents[1]).toEqual(documents[0]);
    expect(documents[1]).toMatchObject({ directories: [directory], duplicates: [] });
  });

  it('prints one document with everything that is promised', async () => {
    const directory = mixedCapture();
    const { status, stdout, stderr } = await runCommand(['inspect', directory, '--json']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const document = JSON.parse(stdout) as { bytes: { disk: number }; segments: { bytes: number }[] };
    expect(document).toEqual({
      schemaVersion: 1,
      directory,
      directories: [directory],
      exchanges: 3,
      firstArrival: '2026-11-24T15:00:00.000000Z',
      lastArrival: '2026-11-25T15:00:00.000000Z',
      bytes: { request: 39, response: 28, disk: document.bytes.disk },
      outcomes: { completed: 2, client_aborted: 1, upstream_failed: 0, timed_out: 0, unknown: 0 },
      truncated: { requests: 0, responses: 0 },
      losses: {
        exchanges: 1,
        bytes: 1_000,
        byReason: { queue_bytes: { exchanges: 1, bytes: 1_000 } },
        exact: true,
        uncountedAtMost: 0,
      },
      omitted: {
        exchanges: 11,
        bytes: 140,
        byCause: { sampled_out: { exchanges: 2, bytes: 50 }, unparsed: { exchanges: 9, bytes: 90 } },
      },
      // Half of it by losses and sampling; the third recorder of the fleet saw as much as the others in their hours.
      coverage: expect.closeTo(0.5 / 1.5, 9),
      unexplained: expect.any(Number),
      coverageAtLeast: expect.closeTo(0.5 / 1.5, 9),
      coverageIsAtMost: false,
      missing: { exchanges: 0, recorders: 1 },
      withoutLog: [],
      unreadableAccounts: [],
      killed: [],
      mix: {
        exchanges: 3,
        segments: 3,
        routes: [{ name: 'POST /v2/models/{model}/infer', exchanges: 3 }],
        models: [{ name: 'resnet', exchanges: 3 }],
        statuses: [{ name: '200', exchanges: 3 }],
        grpcStatuses: [],
        answerErrors: { answers: 0, told: 0 },
        traced: 0,
        searched: 0,
        linked: 0,
      },
      protocols: { 'http/1.1': { connections: 2, bytes: 4_096 } },
      timeZone: 'UTC',
      days: [
        { day: '2026-11-24', exchanges: 2, bytes: 54 },
        { day: '2026-11-25', exchanges: 1, bytes: 13 },
      ],
      segments: [
        { file: '20261124T15-7f3a9c21-0001.sqlite', sealed: true, exchanges: 1, bytes: expect.any(Number) },
        { file: '20261124T15-other-0001.sqlite', sealed: true, exchanges: 1, bytes: expect.any(Number) },
        { file: '20261125T15-7f3a9c21-0002.sqlite', sealed: true, exchanges: 1, bytes: expect.any(Number) },
      ],
      expired: { segments: 0, exchanges: 0, bytes: 0, exact: true },
      forgotten: { exchanges: 0, bytes: 0 },
      encrypted: { segments: 0, keys: [] },
      damaged: [],
      duplicates: [],
      recorders: [
        {
          id: '7f3a9c21',
          host: 'test',
          startedAt: '2026-11-24T15:00:00.000000Z',
          endedAt: expect.stringMatching(/Z$/),
          end: 'stopped',
          segments: 2,
          exchanges: 2,
          gaps: [],
        },
        expect.objectContaining({ id: 'other', host: 'second', end: 'stopped', segments: 1, exchanges: 1 }),
      ],
      fleetSize: 3,
      recordersAtOnce: 2,
      serverDetails: {},
      origins: [{ kind: 'recorded', target: 'model.internal:8000' }],
      sessionKeys: [],
      clockAnchors: 1,
    });
    const segmentBytes = document.segments.reduce((sum, segment) => sum + segment.bytes, 0);
    expect(document.bytes.disk).toBeGreaterThan(segmentBytes);
  });

  it('shows the same to people, the missing part included', async () => {
    const { status, stdout } = await runCommand(['inspect', mixedCapture()]);
    expect(status).toBe(0);
    for (const line of [
      /^exchanges +3$/m,
      /^outcomes +completed 2, client_aborted 1$/m,
      /^lost +1 exchanges: queue_bytes 1 \(1000 B\)$/m,
      /^omitted +11 exchanges: sampled_out 2 \(50 B\), unparsed 9 \(90 B\)$/m,
      /^coverage +\d+\.\d\d %, \d+\.\d\d % missing, of what was read as exchanges: 90 B were not$/m,
      /^recorders +2 of a fleet of 3: 7f3a9c21 on test, other on second$/m,
      /^2026-11-25 +1 +13 B$/m,
      /^20261124T15-other-0001\.sqlite +sealed +1 /m,
    ]) {
      expect(stdout).toMatch(line);
    }
  });

  it('takes the lives of one member, before a pause and after it, for no other members of the fleet', async () => {
    const directory = live({ id: 'before', hours: 3, fleetSize: 2 });
    live({ id: 'after', directory, hours: 1, startHour: 4, fleetSize: 2 });
    const [, middle] = segmentsOf(directory).filter(({ recorder }) => recorder === 'before');
    for (const suffix of ['', '.manifest.json']) rmSync(`${middle?.path}${suffix}`);
    const { stdout } = await runCommand(['inspect', directory]);
    // Of what the segment in the middle held nothing is known: the share is not of it.
    expect(stdout).toMatch(/^coverage +\d+\.\d\d %.*, of what is here: segments are missing$/m);
    expect(stdout).toMatch(
      /^recorders +at most 1 at one time of a fleet of 2, in 2 lives: before on host-before, after on host-after$/m,
    );
    const { stdout: json } = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(json)).toMatchObject({ fleetSize: 2, recordersAtOnce: 1 });
  });

  it('counts of an archive what is not there, and says where that is only a part', async () => {
    const { archive } = archivedLife({ hours: 10, retainHours: 3 });
    const rowOf = async () =>
      /^expired .*$/m.exec((await runCommand(['inspect', archive])).stdout)?.[0] ?? null;
    expect(await rowOf()).toBeNull();
    leaveOut(archive, 5);
    expect(await rowOf()).toMatch(/^expired +at least 1 segments, 1 exchanges, [\d.]+ KiB$/);
    for (const number of [1, 2, 3, 4]) leaveOut(archive, number);
    expect(await rowOf()).toMatch(/^expired +5 segments, 5 exchanges, [\d.]+ KiB$/);
  });

  it('knows no coverage where nothing passed, and counts what is open', async () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory, { segmentBy: 'clock' }), new ManualClock());
    writer.addAnchor({ monotonicNs: 1, epochUs: TEST_EPOCH_US });
    writer.commit();
    const idle = JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout) as object;
    expect(idle).toMatchObject({
      exchanges: 0,
      coverage: null,
      firstArrival: null,
      lastArrival: null,
      days: [],
    });
    writer.append(arrivalAlone(TEST_EPOCH_US));
    writer.commit();
    const growing = JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout) as object;
    expect(growing).toMatchObject({
      exchanges: 1,
      coverage: 1,
      segments: [{ sealed: false, exchanges: 1 }],
    });
    writer.close();
  });

  it('says that losses are missing from the sum that expired with the segment that recorded them', async () => {
    const directory = newCapture();
    const clock = new StandingClock();
    const onFinished = (file: string) => void sealSegment(file, clock);
    const writer = new CaptureWriter(
      writerOptions(directory, { segmentBy: 'clock', retainMs: 3 * 3_600_000, onFinished }),
      clock,
    );
    for (let hour = 0; hour < 8; hour += 1) {
      writer.append(exchangeOf({ arrivalUs: clock.wallUs }));
      const quota = { exchanges: 10 * (hour + 1), bytes: 0 };
      writer.setAccount(accountOf({ lost: { quota } }));
      writer.commit();
      clock.monotonicNs += 3_600e9;
      clock.wallUs += 3_600e6;
      writer.housekeep();
    }
    writer.close();
    const { stdout } = await runCommand(['inspect', directory]);
    expect(stdout).toMatch(
      /^lost +\d+ exchanges: quota \d0 .*; without what the expired segments recorded as lost$/m,
    );
  });

  it('refuses a directory that is no capture: exit 2, one reason, one way out', async () => {
    const { status, stdout, stderr } = await runCommand(['inspect', temporaryDirectory()]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/is not a capture: it is empty\n\s+hint: /);
  });
});
