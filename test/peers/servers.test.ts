import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_PEM } from '../support/certificate.ts';
import { freePort } from '../support/free-port.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { goBuilt, goProgram, pythonWith, systemProgram, type Tool } from '../support/peer-tools.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROGRAMS = join(repositoryRoot, 'test', 'peers', 'programs');
const CLIENT_PACKAGES = [
  ...['requests==2.32.5', 'httpx[http2]==0.28.1', 'aiohttp==3.14.5', 'openai==3.57.0'],
  ...['websockets==17.4', 'tritonclient[http,grpc]==2.73.0', 'fastapi==0.165.0', 'uvicorn==0.54.0'],
  'gunicorn==27.0.1',
];
const clients = pythonWith(CLIENT_PACKAGES);
const mlserver = pythonWith(['mlserver==1.7.1']);
const kserve = pythonWith(['kserve==0.21.0']);
const go = goBuilt(join(PROGRAMS, 'server.go'));
const nginx = systemProgram('nginx');
const grpcurl = goProgram('github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3', 'grpcurl');

const running: ChildProcess[] = [];
afterAll(() => {
  for (const child of running) child.kill('SIGTERM');
});

type Kind = 'http' | 'openai' | 'websocket' | 'triton-http' | 'triton-grpc' | 'h2';

/** What a kind of client got, by client; each answer has a name. */
type Seen = Readonly<Record<string, readonly (readonly [name: string, answer: unknown])[]>>;

interface Server {
  readonly name: string;
  readonly tool: Tool;
  readonly kinds: readonly Kind[];
  /** Starts it on a port; `home` is an empty directory. */
  readonly start: (path: string, port: number, home: string) => ChildProcess;
  readonly scheme?: 'https';
}

function python(path: string, ...args: string[]): ChildProcess {
  return spawn(path, args, { cwd: PROGRAMS, stdio: 'ignore' });
}

const SERVERS: readonly Server[] = [
  {
    name: 'FastAPI on uvicorn',
    tool: clients,
    kinds: ['http', 'openai', 'websocket'],
    start: (path, port) => python(path, '-m', 'uvicorn', '--port', `${port}`, 'asgi_app:app'),
  },
  {
    name: 'gunicorn',
    tool: clients,
    kinds: ['http'],
    start: (path, port) => {
      const workers = ['-k', 'gthread', '--threads', '4', '-w', '2'];
      return python(path, '-m', 'gunicorn', ...workers, '-b', `127.0.0.1:${port}`, 'wsgi_app:application');
    },
  },
  {
    name: 'MLServer over HTTP',
    tool: mlserver,
    kinds: ['triton-http'],
    start: (path, port, home) => startMlserver(path, home, { http_port: port }),
  },
  {
    name: 'MLServer over gRPC',
    tool: mlserver,
    kinds: ['triton-grpc'],
    start: (path, port, home) => startMlserver(path, home, { grpc_port: port }),
  },
  {
    name: 'KServe’s server over HTTP',
    tool: kserve,
    kinds: ['triton-http'],
    start: (path, port) => python(path, 'kserve_sum.py', '--http_port', `${port}`, '--enable_grpc', 'false'),
  },
  {
    name: 'KServe’s server over gRPC',
    tool: kserve,
    kinds: ['triton-grpc'],
    start: (path, port) => python(path, 'kserve_sum.py', '--http_port', '0', '--grpc_port', `${port}`),
  },
  {
    name: 'nginx',
    tool: nginx,
    kinds: ['http'],
    start: (path, port, home) => startNginx(path, port, home),
  },
  { name: 'Go', tool: go, kinds: ['http'], start: (path, port) => spawn(path, [`${port}`]) },
  {
    name: 'Go over TLS and HTTP/2',
    tool: go,
    kinds: ['h2'],
    scheme: 'https',
    start: (path, port, home) => {
      writeFileSync(join(home, 'cert.pem'), CERTIFICATE_PEM);
      writeFileSync(join(home, 'key.pem'), CERTIFICATE_KEY_PEM);
      return spawn(path, [`${port}`, join(home, 'cert.pem'), join(home, 'key.pem')]);
    },
  },
];

function startMlserver(path: string, home: string, ports: object): ChildProcess {
  const free = { http_port: 0, grpc_port: 0, metrics_port: 0, ...ports };
  const settings = { ...free, host: '127.0.0.1', parallel_workers: 0, metrics_endpoint: null };
  writeFileSync(join(home, 'settings.json'), JSON.stringify(settings));
  const model = { name: 'sum', implementation: 'mlserver_sum.Sum' };
  writeFileSync(join(home, 'model-settings.json'), JSON.stringify(model));
  const env = { ...process.env, PYTHONPATH: PROGRAMS };
  return spawn(join(dirname(path), 'mlserver'), ['start', home], { stdio: 'ignore', env });
}

function startNginx(path: string, port: number, home: string): ChildProcess {
  mkdirSync(join(home, 'temporary'));
  writeFileSync(join(home, 'large'), 'z'.repeat(1_048_576));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${home}/temporary;`,
  );
  const user = process.getuid?.() === 0 ? 'user root; ' : '';
  writeFileSync(
    join(home, 'nginx.conf'),
    `${user}daemon off; worker_processes 1; error_log ${home}/error.log; pid ${home}/nginx.pid;
events { worker_connections 256; }
http { access_log off; ${temporary.join(' ')}
  server {
    listen 127.0.0.1:${port}; root ${home};
    location /echo { return 200 "taken"; }
  }
}`,
  );
  return spawn(path, ['-p', home, '-c', join(home, 'nginx.conf')], { stdio: 'ignore' });
}

async function untilListening(port: number, server: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    if (server.exitCode !== null) expect.fail(`the server ended with ${server.exitCode}`);
    const there = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (there) return;
    await sleep(100);
  }
  expect.fail(`nothing listens on ${port}`);
}

async function seenBy(kind: Kind, url: string): Promise<Seen> {
  if ('missing' in clients) throw new Error(clients.missing);
  const child = spawn(clients.path, [join(PROGRAMS, 'clients.py'), kind, url]);
  let [said, complained] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complained += text;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  expect(status, complained).toBe(0);
  return JSON.parse(said) as Seen;
}

/** A recorder of the wire with all bodies, in front of a server, and what it saw of these clients. */
async function recordedCapture(port: number, traffic: (port: number) => Promise<unknown>): Promise<string> {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(port, directory, ['--bodies', 'all']);
  await traffic(recording.port);
  expect(await recording.stop()).toMatchObject({ status: 0, end: { lost: {} } });
  return directory;
}

const PLANES = [
  { plane: 'wire', flags: [] },
  { plane: 'gateway', flags: ['--mode', 'gateway', '--gateway', 'websocket'] },
] as const;

/** The gateway speaks for the client's connection in these headers and in the status line (docs/guides/gateway.md). */
const OF_THE_CONNECTION = ['connection', 'keep-alive'];

function withoutConnection(seen: Seen): unknown {
  return JSON.parse(JSON.stringify(seen), (key, value) => {
    if (key === 'headers') return value.filter(([name]: [string]) => !OF_THE_CONNECTION.includes(name));
    return key === 'line' ? value.replace('HTTP/1.0', 'HTTP/1.1') : value;
  });
}

/** HTTP/2 passes through the wire only: the gateway speaks HTTP/1.1. */
const WIRE_ONLY: readonly Kind[] = ['triton-grpc', 'h2'];

/** A test that needs several tools. */
function needingAll(tools: readonly Tool[], name: string, body: (paths: string[]) => Promise<void>): void {
  const missing = tools.find((tool) => 'missing' in tool) ?? (tools[0] as Tool);
  needing(missing, name, () => body(tools.map((tool) => ('path' in tool ? tool.path : ''))));
}

describe.each(SERVERS)('$name', ({ tool, kinds, start, scheme = 'http' }) => {
  const missing = [tool, clients].find((one) => 'missing' in one);
  if (missing && 'missing' in missing) {
    test.skip(`answers the same with and without the recorder (${missing.missing})`, () => undefined);
    return;
  }
  test('answers the same with and without the recorder', async () => {
    const port = await freePort();
    const server = start((tool as { path: string }).path, port, temporaryDirectory());
    running.push(server);
    await untilListening(port, server);
    for (const kind of kinds) {
      const direct = await seenBy(kind, `${scheme}://127.0.0.1:${port}`);
      for (const { plane, flags } of PLANES) {
        if (plane === 'gateway' && WIRE_ONLY.includes(kind)) continue;
        const recording = await startRecording(port, join(temporaryDirectory(), 'capture'), flags);
        const through = await seenBy(kind, `${scheme}://127.0.0.1:${recording.port}`);
        const { status, end } = await recording.stop();
        const compared = plane === 'wire' ? (seen: Seen) => seen : withoutConnection;
        expect({ plane, kind, seen: compared(through) }).toEqual({ plane, kind, seen: compared(direct) });
        expect(status).toBe(0);
        expect(end).toMatchObject({ pending: { turns: 0, bytes: 0 }, lost: {} });
      }
    }
    server.kill('SIGTERM');
  });
});

describe.each(SERVERS.filter(({ kinds }) => kinds.includes('triton-grpc')))('$name', ({ tool, start }) => {
  needingAll(
    [tool, clients],
    'answers a replay of recorded calls as it answered the calls',
    async ([path = '']) => {
      const port = await freePort();
      const server = start(path, port, temporaryDirectory());
      running.push(server);
      await untilListening(port, server);
      const capture = await recordedCapture(port, (recorder) =>
        seenBy('triton-grpc', `http://127.0.0.1:${recorder}`),
      );
      const run = await replay(capture, `http://127.0.0.1:${port}`, ['--json', '--check', 'values']);
      const { planned, grpcStatuses, check } = documentOf(run);
      expect(planned).toBeGreaterThanOrEqual(20);
      expect(grpcStatuses).toEqual({ OK: planned });
      expect(check).toMatchObject({ mismatched: 0, checked: planned });
      server.kill('SIGTERM');
    },
  );
});

/** Writes MLServer's messages as `protoc -o` would: it answers no reflection. */
const DESCRIPTOR_SET = `
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from mlserver.grpc import dataplane_pb2
file = FileDescriptorProto()
dataplane_pb2.DESCRIPTOR.CopyToProto(file)
open(sys.argv[1], 'wb').write(FileDescriptorSet(file=[file]).SerializeToString())
`;

needingAll(
  [mlserver, grpcurl],
  'grpcurl asks MLServer the same through the recorder',
  async ([path = '', curl = '']) => {
    const port = await freePort();
    const server = startMlserver(path, temporaryDirectory(), { grpc_port: port });
    running.push(server);
    await untilListening(port, server);
    const set = join(temporaryDirectory(), 'set.pb');
    const written = await runPeer(path, ['-c', DESCRIPTOR_SET, set]);
    expect(written.status, written.said).toBe(0);
    const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } }];
    const body = JSON.stringify({ model_name: 'sum', id: '7', inputs });
    const asked = async (at: number) => {
      const place = [`127.0.0.1:${at}`, 'inference.GRPCInferenceService/ModelInfer'];
      const { status, said, stdout } = await runPeer(curl, [
        '-plaintext',
        '-protoset',
        set,
        '-d',
        body,
        ...place,
      ]);
      expect(status, said).toBe(0);
      return JSON.parse(stdout);
    };
    const direct = await asked(port);
    const capture = await recordedCapture(port, async (recorder) =>
      expect(await asked(recorder)).toEqual(direct),
    );
    const run = documentOf(
      await replay(capture, `http://127.0.0.1:${port}`, ['--json', '--check', 'values']),
    );
    expect(run).toMatchObject({ planned: 1, grpcStatuses: { OK: 1 }, check: { checked: 1, mismatched: 0 } });
    server.kill('SIGTERM');
  },
);
