/**
 * What `protoc --include_imports -o` wrote for this file, and a message that Python's protobuf wrote:
 *
 *     package acme.v1;
 *     enum Mode { MODE_UNSPECIFIED = 0; FAST = 1; }
 *     message Query {
 *       message Part { string text = 1; bytes blob = 2; }
 *       string user_id = 1;
 *       repeated Part parts = 2;
 *       map<int32, string> labels = 3;
 *       Mode mode = 4;
 *       repeated sint64 deltas = 5;
 *       oneof limit { double seconds = 6; fixed64 nanos = 7; }
 *       Query parent = 8;
 *     }
 *     message Answer { string content = 1 [json_name = "said"]; }
 *     service Oracle { rpc Ask(Query) returns (Answer); rpc Tell(stream Query) returns (stream Answer); }
 */
export const ACME_SET: Buffer = Buffer.from(
  [
    'CtQECgxjdXN0b20ucHJvdG8SB2FjbWUudjEiigMKBVF1ZXJ5EhcKB3VzZXJfaWQYASABKAlSBnVzZXJJZBIpCgVwYXJ0cxgC',
    'IAMoCzITLmFjbWUudjEuUXVlcnkuUGFydFIFcGFydHMSMgoGbGFiZWxzGAMgAygLMhouYWNtZS52MS5RdWVyeS5MYWJlbHNF',
    'bnRyeVIGbGFiZWxzEiEKBG1vZGUYBCABKA4yDS5hY21lLnYxLk1vZGVSBG1vZGUSFgoGZGVsdGFzGAUgAygSUgZkZWx0YXMS',
    'GgoHc2Vjb25kcxgGIAEoAUgAUgdzZWNvbmRzEhYKBW5hbm9zGAcgASgGSABSBW5hbm9zEiYKBnBhcmVudBgIIAEoCzIOLmFj',
    'bWUudjEuUXVlcnlSBnBhcmVudBouCgRQYXJ0EhIKBHRleHQYASABKAlSBHRleHQSEgoEYmxvYhgCIAEoDFIEYmxvYho5CgtM',
    'YWJlbHNFbnRyeRIQCgNrZXkYASABKAVSA2tleRIUCgV2YWx1ZRgCIAEoCVIFdmFsdWU6AjgBQgcKBWxpbWl0Ih8KBkFuc3dl',
    'chIVCgdjb250ZW50GAEgASgJUgRzYWlkKiYKBE1vZGUSFAoQTU9ERV9VTlNQRUNJRklFRBAAEggKBEZBU1QQATJdCgZPcmFj',
    'bGUSJgoDQXNrEg4uYWNtZS52MS5RdWVyeRoPLmFjbWUudjEuQW5zd2VyEisKBFRlbGwSDi5hY21lLnYxLlF1ZXJ5Gg8uYWNt',
    'ZS52MS5BbnN3ZXIoATABYgZwcm90bzM=',
  ].join(''),
  'base64',
);

export const ACME_MESSAGE: Buffer = Buffer.from(
  'CgTDvC03EgcKAWESAgD/EgMKAWIaEAj///////////8BEgNuZWcaCQgHEgVzZXZlbiABKgsBBP//////////fzkBAAAAAAAAgEIGCgRyb290',
  'base64',
);
