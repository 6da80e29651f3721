import { gzipSync } from 'node:zlib';
import type { MessageType } from '../../src/core/protobuf.ts';
import { grpcMessagesOf } from '../../src/inference/grpc.ts';
import { callSchema } from '../../src/inference/protobuf/known-services.ts';
import type { CallTypes } from '../../src/inference/protobuf/schema.ts';
import type { BodyAbout } from '../../src/redaction/body-redaction.ts';
import { grpcMessage } from './grpc.ts';

const schema = callSchema();

/** Messages of a known method: `ModelInfer`, `Predict` … */
export function typesOf(method: string): CallTypes {
  const path = schema.paths.find((each) => each.endsWith(`/${method}`));
  const types = path === undefined ? null : schema.of(path);
  if (types === null) throw new Error(`no known call ${method}`);
  return types;
}

/** A body of messages, none of them compressed. */
export function grpcBody(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat(messages.map((each) => grpcMessage(each)));
}

export function gzippedBody(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat(messages.map((each) => grpcMessage(gzipSync(each), true)));
}

/** What redaction is told of a body of these messages. */
export function aboutCall(
  body: Buffer,
  type: MessageType | null,
  coding: string | null = null,
): Partial<BodyAbout> {
  return { contentType: 'application/grpc', call: { type, coding, ...grpcMessagesOf(body) } };
}
