import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { responseMessage } from '../support/exchanges.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';

const OBJECTIVES = ['--slo', 'latency: p(90)<200', '--slo', 'errors: rate<0.5'];

/** A recording of which a third was refused as the clients' fault, and whose answers took 900 ms. */
function troubledCapture(): string {
  const rows = requestsOf(300, 1_000).map((exchange, nth) => ({
    ...exchange,
    firstByteOffsetUs: 1_000,
    lastByteOffsetUs: 900_000,
    ...(nth % 3 === 0 ? { status: 404, response: responseMessage(404, '{}') } : {}),
  }));
  return captureOf(rows);
}

const codesOf = (notes: readonly { readonly code: string }[]) =>
  notes.map(({ code }) => code).filter((code) => code.startsWith('recorded_'));

test('a plan says that a third of the recording is 4xx, and that it violates the objectives itself', async () => {
  const capture = troubledCapture();
  const planned = await runCommand(['replay', capture, '--dry-run', '--json', ...OBJECTIVES]);
  const { notes } = JSON.parse(planned.stdout);
  expect(codesOf(notes)).toEqual(['recorded_client_errors', 'recorded_violation']);
  expect(notes.map(({ text }: { text: string }) => text).join()).toMatch(
    /33\.3 %.*latency: p\(90\)<200: 900/,
  );
  const shown = await runCommand(['replay', capture, '--dry-run', ...OBJECTIVES]);
  expect(shown.stdout).toMatch(/33\.3 % of the recorded answers are client errors/);
  expect(shown.stdout).toMatch(/the recording itself violates latency: p\(90\)<200/);
  const sound = await runCommand(['replay', captureOf(requestsOf(30)), '--dry-run', '--json', ...OBJECTIVES]);
  expect(codesOf(JSON.parse(sound.stdout).notes)).toEqual([]);
});

test('so does the run', async () => {
  const server = await serverOf((_, response) => void response.end('{"outputs":[]}'));
  const { notes } = documentOf(await replayHere(troubledCapture(), server.url, ['--json', ...OBJECTIVES]));
  expect(codesOf(notes)).toEqual(['recorded_client_errors', 'recorded_violation']);
});

test('a FAIL named what the recording itself violates after everything else', async () => {
  const slow = await serverOf((_, response) => void setTimeout(() => response.end('{"outputs":[]}'), 400));
  const { verdict, notes } = documentOf(
    await replayHere(troubledCapture(), slow.url, ['--json', ...OBJECTIVES]),
  );
  expect([verdict, notes[0]?.code]).toEqual(['FAIL', 'recorded_violation']);
});

test('inspect and profile say how many answers are client errors', async () => {
  const capture = troubledCapture();
  expect((await runCommand(['inspect', capture])).stdout).toMatch(/client errors\s+33\.3 %/);
  expect((await runCommand(['profile', capture])).stdout).toMatch(/client errors\s+33\.3 %/);
  expect((await runCommand(['inspect', captureOf(requestsOf(30))])).stdout).not.toContain('client errors');
});
