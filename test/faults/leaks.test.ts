import { mkdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTick, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { filesBelow, findSecrets, type Haystack, payloadsOf } from '../redaction/leak-search.ts';
import { type Place, PROTOCOL_NAMES, plantedProtocols } from '../redaction/planted-protocols.ts';
import { LEAK_FLAGS, type PlantedExchange, plantedExchanges } from '../redaction/planted-secrets.ts';
import { runCommand } from '../support/command-here.ts';
import { untilStatus } from '../support/control.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SEED = 20_261_124;
const OPEN = Buffer.from('in-the-open');
const COMMIT_MS = 600;
const ANSWER_MS = 2_000;

/** An origin that answers each request with what its exchange says, and closes. */
class PlantedOrigin {
  current: PlantedExchange | null = null;
  readonly #server: Server = createServer((request) => {
    request.resume();
    request.on('end', () => this.#answer(request.socket));
  });

  async listen(): Promise<number> {
    this.#server.on('upgrade', ({ socket }) => this.#answer(socket));
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(socket: Socket): void {
    socket.on('error', () => {});
    socket.end(this.current?.answer ?? Buffer.alloc(0));
  }
}

let origin: PlantedOrigin;
afterEach(() => origin.close());

/** One exchange on a connection of its own, its pieces sent one by one. @returns whether it was answered */
async function exchangeOver(port: number, exchange: PlantedExchange): Promise<boolean> {
  origin.current = exchange;
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    // A gateway would keep the connection, whatever its server does with its own.
    if (isWhole(Buffer.concat(chunks).toString('latin1'))) socket.end();
  });
  const closed = new Promise<void>((resolve) => {
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
  for (const piece of exchange.request) {
    socket.write(piece);
    await nextTick();
  }
  if (exchange.leaves) {
    await sleep(20);
    socket.destroy();
  }
  const timeout = setTimeout(() => socket.destroy(), ANSWER_MS);
  await closed;
  clearTimeout(timeout);
  return Buffer.concat(chunks).toString('latin1').startsWith('HTTP/1.1 ');
}

/** Whether a response is there to its last byte; every one here states its length. */
function isWhole(text: string): boolean {
  const headEnd = text.indexOf('\r\n\r\n');
  const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? Number.NaN);
  return headEnd >= 0 && text.length >= headEnd + 4 + length;
}

/** Until what has passed is in a file, however slow the disk: what is not is no haystack. */
async function committed(directory: string): Promise<void> {
  await sleep(COMMIT_MS);
  await untilStatus(directory, ({ pending }) => pending.turns === 0);
}

async function killed(recording: RecordingProcess): Promise<void> {
  const { proxy: forwarder, recorder } = recording.children();
  for (const pid of [recorder, forwarder]) process.kill(pid, 'SIGKILL');
  await recording.process.kill('SIGKILL');
}

/** A recording of all planted exchanges, killed halfway and begun again; what it left, and what it said. */
async function recorded(flags: readonly string[], exchanges: readonly PlantedExchange[]) {
  origin = new PlantedOrigin();
  const target = await origin.listen();
  const root = temporaryDirectory();
  for (const name of ['cwd', 'tmp']) mkdirSync(join(root, name));
  const directory = join(root, 'capture');
  const options = { cwd: join(root, 'cwd'), env: { TMPDIR: join(root, 'tmp') } };
  const start = () =>
    startRecording(target, directory, ['--probe-listen', 'off', '--drain-delay', '0s', ...flags], options);
  const said: Haystack[] = [];
  const note = ({ process: { stdout, stderr } }: RecordingProcess) =>
    said.push({ name: 'what was printed', bytes: Buffer.from(stdout + stderr) });
  let answered = 0;
  const play = async (recording: RecordingProcess, half: readonly PlantedExchange[]) => {
    for (const exchange of half) if (await exchangeOver(recording.port, exchange)) answered += 1;
  };

  // Every second one, so that both halves have some of each kind.
  const [first, second] = [0, 1].map((rest) => exchanges.filter((_, index) => index % 2 === rest));
  const before = await start();
  await play(before, first as PlantedExchange[]);
  await committed(directory);
  const open = connect({ port: before.port, host: '127.0.0.1' }).on('error', () => {});
  for (const piece of exchanges.find(({ leaves }) => leaves)?.request ?? []) open.write(piece);
  await sleep(50);
  await killed(before);
  note(before);
  const afterKill = filesBelow(root);

  const after = await start();
  const quarter = Math.floor((second as PlantedExchange[]).length / 2);
  await play(after, (second as PlantedExchange[]).slice(0, quarter));
  await committed(directory);
  process.kill(after.children().recorder, 'SIGKILL');
  await after.process.waitFor('stderr', /recorder started.*recorder started/s);
  await untilStatus(directory, ({ state, restarts }) => state === 'HEALTHY' && restarts.recorder === 1);
  await play(after, (second as PlantedExchange[]).slice(quarter));
  const { status } = await after.stop();
  note(after);
  expect(status).toBe(0);
  return {
    answered,
    root,
    directory,
    haystacks: [...said, ...afterKill, ...filesBelow(root), ...payloadsOf(directory)],
  };
}

/** Payloads that show what nobody hid: the search does see what was recorded. */
function inTheOpen(haystacks: readonly Haystack[]): number {
  return haystacks.filter(
    ({ name, bytes }) => name.endsWith('request head') && Buffer.from(bytes).includes(OPEN),
  ).length;
}

const exchanges = plantedExchanges(SEED);
const secrets = exchanges.flatMap((exchange) => exchange.secrets);

describe('200 planted secrets', () => {
  it.each(['wire', 'gateway'])('leave nothing behind in any file of the %s plane', async (mode) => {
    expect(new Set(secrets).size).toBe(200);
    const planes = mode === 'gateway' ? ['--mode', 'gateway', '--gateway', 'websocket'] : [];
    const { answered, haystacks } = await recorded([...LEAK_FLAGS, ...planes], exchanges);
    expect(answered).toBeGreaterThan(190);
    expect(inTheOpen(haystacks)).toBeGreaterThan(150);
    expect(haystacks.some(({ name }) => name.endsWith('-wal'))).toBe(true);
    expect(findSecrets(secrets, haystacks)).toEqual([]);
  });

  it('are found, where no rule is given, in just the bodies that rules would have covered', async () => {
    const kinds = [
      'nested JSON',
      'base64 in JSON',
      'coded JSON',
      'chunked JSON',
      'JSON answer',
      'header',
      'cookie',
    ];
    const some = exchanges.filter(({ kind }) => kinds.includes(kind));
    const { haystacks } = await recorded(['--bodies', 'all'], some);
    const found = findSecrets(
      some.flatMap((exchange) => exchange.secrets),
      haystacks,
    );
    const leaked = some.filter((exchange) =>
      found.some((line) => line.startsWith(exchange.secrets[0] ?? '')),
    );
    expect(new Set(leaked.map(({ kind }) => kind))).toEqual(new Set(kinds.slice(0, 5)));
    expect(leaked.length).toBeGreaterThan(55);
  });
});

/** The formats with their flags: some need the address of a server, and none is asked. */
const TARGET = ['--target', 'http://127.0.0.1:9'];
const FORMATS: Readonly<Record<string, readonly string[]>> = {
  locust: TARGET,
  k6: TARGET,
  vegeta: TARGET,
  har: TARGET,
  mooncake: [],
  parquet: [],
  csv: [],
};

/** What the commands that read a capture print and write. */
async function readBack(directory: string, root: string): Promise<Haystack[]> {
  const asked = [
    ...[['inspect'], ['verify'], ['profile', '--json'], ['profile', '--html']],
    ...Object.entries(FORMATS).map(([format, flags]) => {
      return ['export', format, '--out', join(root, `export.${format}`), ...flags];
    }),
  ].map((args) => [...args, directory]);
  const said: Haystack[] = [];
  for (const args of asked) {
    // An option with a value of its own may not take the directory for it.
    const { status, stdout, stderr } = await runCommand(args.toSpliced(-1, 0, '--'));
    expect(status, `${args.join(' ')}: ${stderr}`).toBe(0);
    said.push({ name: args.join(' '), bytes: Buffer.from(stdout + stderr) });
  }
  return [...said, ...filesBelow(root)];
}

/** Whether the guide says, of what is recorded without any flag, that this is stored. */
function guideStores(place: Place): boolean {
  const guide = readFileSync(join(repositoryRoot, 'docs', 'guides', 'privacy.md'), 'utf8');
  const row = guide.split('\n').find((line) => line.startsWith(`| ${place}`));
  const cell = row?.split('|')[2]?.trim() ?? '';
  expect(cell).toMatch(/^(?:as they came|not stored|\*\*never\*\*)/);
  return cell.startsWith('as they came');
}

const planted = plantedProtocols(SEED);
const placed = new Map(planted.flatMap(({ places }) => [...places]));
const inPlaces = (wanted: (place: Place) => boolean) =>
  [...placed].filter(([, place]) => wanted(place)).map(([secret]) => secret);

describe('500 secrets and more, in the bodies of 30 protocols and more, in URLs and in paths', () => {
  it.each(['wire', 'gateway'])(
    'are in no file and no output of the %s plane with the preset llm',
    async (mode) => {
      const hidden = inPlaces((place) => place !== 'other headers, paths');
      expect(new Set(hidden).size).toBeGreaterThan(500);
      expect(PROTOCOL_NAMES.length).toBeGreaterThan(30);
      const flags = ['--bodies', 'all', '--redact-preset', 'llm', '--mode', mode];
      const { answered, directory, root, haystacks } = await recorded(flags, planted);
      expect(answered).toBe(planted.length);
      // What reads a capture is the same for both planes.
      const read = mode === 'wire' ? await readBack(directory, root) : [];
      expect(findSecrets(hidden, [...haystacks, ...read])).toEqual([]);
      // Bodies are masked, and not dropped.
      for (const side of ['request', 'response']) {
        const bodies = haystacks.filter(
          ({ name, bytes }) => name.endsWith(`${side} body`) && bytes.length > 0,
        );
        expect(bodies.length).toBeGreaterThanOrEqual(2 * PROTOCOL_NAMES.length);
      }
      // What the guide leaves in heads is in no row, and so in no name of a route.
      const rows = haystacks.filter(({ name }) => name.endsWith(' row'));
      expect(rows).toHaveLength(planted.length);
      expect(findSecrets([...placed.keys()], rows)).toEqual([]);
    },
  );

  it('are stored, where no rule is given, just where the guide says so', async () => {
    const { haystacks } = await recorded([], planted);
    const found = new Set(findSecrets([...placed.keys()], haystacks).map((line) => line.split(' ', 1)[0]));
    const places = new Set(placed.values());
    expect(places.size).toBe(4);
    for (const place of places) {
      const secrets = inPlaces((other) => other === place);
      const stored = secrets.filter((secret) => found.has(secret));
      expect(stored, place).toEqual(guideStores(place) ? secrets : []);
    }
  });
});
