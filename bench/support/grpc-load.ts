import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Unary calls in a closed loop, or at a rate.
 *
 * Message in: `GrpcJob`. Message out: `GrpcReport`.
 */
export interface GrpcJob {
  readonly port: number;
  readonly connections: number;
  /** Calls under way at one time, over all connections. Not used if there is a rate. */
  readonly inFlight: number;
  /** Null for a closed loop. */
  readonly ratePerSecond: number | null;
  readonly count: number;
  readonly requestBytes: number;
  readonly answerBytes: number;
}

export interface GrpcReport {
  readonly answers: number;
  readonly failures: number;
  readonly durationMs: number;
}

const HEADERS = {
  ':method': 'POST',
  ':path': '/inference.GRPCInferenceService/ModelInfer',
  'content-type': 'application/grpc',
  te: 'trailers',
  'user-agent': 'bench',
  authorization: 'Bearer not-a-real-token',
};

/** Equal bodies would be stored only once, which would cost the recorder too little. */
const DIFFERENT_BODIES = 2_000;
let serial = 0;

function requestOf(bytes: number): Buffer {
  const message = Buffer.alloc(5 + bytes, 'r');
  message.fill(0, 0, 5);
  message.writeUInt32BE(bytes, 1);
  serial = (serial + 1) % DIFFERENT_BODIES;
  message.write(String(serial), 5);
  return message;
}

/** @returns whether the whole answer came, with its status */
function call(session: ClientHttp2Session, { requestBytes, answerBytes }: GrpcJob): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = session.request(HEADERS);
    let bytes = 0;
    let status: unknown;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(status === '0' && bytes === 5 + answerBytes));
    stream.end(requestOf(requestBytes));
  });
}

/** Each call leaves when it is due, however many are under way. @returns how many were answered */
async function paced(
  sessions: readonly ClientHttp2Session[],
  job: GrpcJob,
  ratePerSecond: number,
): Promise<number> {
  const startedMs = performance.now();
  const calls: Promise<boolean>[] = [];
  while (calls.length < job.count) {
    const aheadMs = (calls.length * 1e3) / ratePerSecond - (performance.now() - startedMs);
    if (aheadMs > 0) await sleep(aheadMs);
    else calls.push(call(sessions[calls.length % sessions.length] as ClientHttp2Session, job));
  }
  return (await Promise.all(calls)).filter(Boolean).length;
}

async function run(job: GrpcJob): Promise<GrpcReport> {
  const sessions = await Promise.all(
    Array.from({ length: job.connections }, async () => {
      const session = connect(`http://127.0.0.1:${job.port}`);
      session.on('error', () => undefined);
      await once(session, 'connect');
      return session;
    }),
  );
  const startedNs = process.hrtime.bigint();
  let begun = 0;
  let answers = 0;
  const { ratePerSecond } = job;
  if (ratePerSecond !== null) answers = await paced(sessions, job, ratePerSecond);
  else
    await Promise.all(
      Array.from({ length: job.inFlight }, async (_, at) => {
        const session = sessions[at % sessions.length] as ClientHttp2Session;
        while (begun < job.count) {
          begun += 1;
          if (await call(session, job)) answers += 1;
        }
      }),
    );
  const durationMs = Number(process.hrtime.bigint() - startedNs) / 1e6;
  for (const session of sessions) session.close();
  return { answers, failures: job.count - answers, durationMs };
}

process.on('message', async (job: GrpcJob) => {
  process.send?.(await run(job));
});
process.on('disconnect', () => process.exit());
