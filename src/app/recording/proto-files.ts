import { readFileSync } from 'node:fs';
import { AppError, reasonOf } from '../../core/errors.ts';
import { list } from '../../core/options.ts';
import { parseDescriptorSet } from '../../inference/protobuf/descriptor-set.ts';
import { callSchema } from '../../inference/protobuf/known-services.ts';
import type { CallSchema } from '../../inference/protobuf/schema.ts';

export const PROTO_OPTION = {
  proto: list(
    '--proto <file>',
    'descriptor set of gRPC services, as protoc -o or buf build -o writes it with its imports; those of OIP and TensorFlow Serving are known',
  ),
};

/**
 * The known gRPC calls and those of these files.
 * @throws AppError OPTION_INVALID for a file that cannot be read, or is no descriptor set
 */
export function loadCallSchema(files: readonly string[]): CallSchema {
  return callSchema(files.map((file) => parseDescriptorSet(bytesOf(file), file)));
}

function bytesOf(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new AppError('OPTION_INVALID', `${file}, a descriptor set, cannot be read: ${reasonOf(error)}`, {
      hint: 'Give the file that protoc --include_imports -o FILE, or buf build -o FILE, wrote.',
      cause: error,
    });
  }
}
