// A node-opcua server of two variables behind all security policies, for the tests: one stands
// still, one counts.
// Usage: node node_opcua_server.js '{"modules": ..., "folder": ..., ...}'; prints {"port": N} once.
"use strict";
const settings = JSON.parse(process.argv[2]);
const opcua = require(settings.modules + "/node-opcua");
const net = require("net");

function manager(name) {
  return new opcua.OPCUACertificateManager({
    name, rootFolder: `${settings.folder}/${name}`, automaticallyAcceptUnknownCertificate: false,
  });
}

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

(async () => {
  const own = manager("own"), users = manager("users");
  await own.initialize();
  await users.initialize();
  const port = await freePort();
  const { Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss } = opcua.SecurityPolicy;
  const server = new opcua.OPCUAServer({
    port,
    hostname: "127.0.0.1",
    resourcePath: "/plant",
    serverInfo: { applicationUri: settings.application },
    certificateFile: `${settings.folder}/server.pem`,
    privateKeyFile: `${settings.folder}/server_key.pem`,
    serverCertificateManager: own,
    userCertificateManager: users,
    allowAnonymous: true,
    securityPolicies: [
      opcua.SecurityPolicy.None, Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss,
    ],
    securityModes: [
      opcua.MessageSecurityMode.None,
      opcua.MessageSecurityMode.Sign,
      opcua.MessageSecurityMode.SignAndEncrypt,
    ],
    userManager: {
      isValidUser: (name, password) => settings.passwords[name] === password,
    },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.registerNamespace(settings.uri);
  namespace.addVariable({
    organizedBy: space.rootFolder.objects,
    nodeId: "s=temperature",
    browseName: "temperature",
    dataType: "Double",
    value: { dataType: opcua.DataType.Double, value: settings.value },
  });
  let count = 0;
  const ticking = namespace.addVariable({
    organizedBy: space.rootFolder.objects,
    nodeId: "s=ticking",
    browseName: "ticking",
    dataType: "UInt32",
    value: { dataType: opcua.DataType.UInt32, value: count },
  });
  setInterval(() => {
    count += 1;
    ticking.setValueFromSource({ dataType: opcua.DataType.UInt32, value: count });
  }, settings.tick_ms);
  await server.start();
  process.stdout.write(JSON.stringify({ port }) + "\n");
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
})().catch((error) => {
  process.stderr.write(String(error && error.stack) + "\n");
  process.exit(1);
});
