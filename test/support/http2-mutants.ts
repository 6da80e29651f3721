import type { SeededRandom } from '../../src/core/random.ts';
import { PREFACE } from '../../src/http2/frames.ts';
import { type Field, HpackEncoder } from './hpack-encoder.ts';
import { dataFrame, FRAME_TYPE, frame, headerFrames, settingsFrame, uint32 } from './http2-frames.ts';

/** What both sides send on one connection, in the pieces in which they send it. */
export interface DrawnConnection {
  readonly client: readonly Buffer[];
  readonly server: readonly Buffer[];
}

const CALL: readonly Field[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/inference.GRPCInferenceService/ModelInfer'],
  [':authority', 'models:8001'],
  ['content-type', 'application/grpc'],
];

/** A connection of HTTP/2 with some calls, in which bytes and frames were changed, removed, repeated and swapped. */
export function drawnMutant(random: SeededRandom): DrawnConnection {
  const encoders = { client: new HpackEncoder(), server: new HpackEncoder() };
  const client = [settingsFrame([1, random.below(70_000)])];
  const server = [settingsFrame([3, 100])];
  for (let at = 0, calls = 1 + random.below(4); at < calls; at += 1) {
    const stream = 2 * at + 1;
    const form = { padding: random.below(3) === 0 ? random.below(30) : null, fragments: 1 + random.below(3) };
    const body = Buffer.alloc(random.below(4) === 0 ? random.below(20_000) : random.below(200), at);
    client.push(headerFrames(stream, encoders.client.encode([...CALL, ['x', `${random.below(5)}`]]), form));
    client.push(dataFrame(stream, body, { padding: form.padding, endStream: true }));
    server.push(headerFrames(stream, encoders.server.encode([[':status', '200']]), form));
    server.push(dataFrame(stream, body, { padding: form.padding }));
    server.push(headerFrames(stream, encoders.server.encode([['grpc-status', '0']]), { endStream: true }));
    if (random.below(4) === 0) client.push(frame(FRAME_TYPE.reset, 0, stream, uint32(8)));
    if (random.below(4) === 0) server.push(frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8)));
  }
  const prefaced = random.below(20) === 0 ? client : [PREFACE, ...client];
  return {
    client: pieces(mutated(prefaced, random), random),
    server: pieces(mutated(server, random), random),
  };
}

/** One of two sides stays as it is, so that many connections are read far. */
function mutated(frames: readonly Buffer[], random: SeededRandom): Buffer {
  const changed = [...frames];
  for (let left = random.below(2) * (1 + random.below(3)); left > 0; left -= 1) {
    const at = random.below(changed.length);
    const victim = changed[at] as Buffer;
    const kind = random.below(7);
    if (kind === 0) changed.splice(at, 1);
    else if (kind === 1) changed.splice(at, 0, victim);
    else if (kind === 2) changed.push(...changed.splice(at, 1));
    else if (kind === 3) changed[at] = victim.subarray(0, random.below(victim.length + 1));
    else if (kind === 4)
      changed[at] = Buffer.concat([victim, Buffer.alloc(random.below(40), random.below(256))]);
    else {
      const copy = Buffer.from(victim);
      // The head of a frame is hit more often than its content.
      const place = kind === 5 ? random.below(Math.min(9, copy.length)) : random.below(copy.length);
      copy[place] = (copy[place] ?? 0) ^ (1 << random.below(8));
      changed[at] = copy;
    }
    if (changed.length === 0) return Buffer.alloc(0);
  }
  return Buffer.concat(changed);
}

function pieces(wire: Buffer, random: SeededRandom): Buffer[] {
  const cut: Buffer[] = [];
  for (let at = 0; at < wire.length; ) {
    const end = Math.min(wire.length, at + 1 + random.below(random.below(3) === 0 ? 20 : 4_000));
    cut.push(wire.subarray(at, end));
    at = end;
  }
  return cut;
}
