// A node-opcua server of N doubles ns=1;s=v0.. that all change every 100 ms, without security.
// Usage: node server.js '{"modules": ..., "port": P, "nodes": N}'; prints "ready".
"use strict";
const settings = JSON.parse(process.argv[2]);
const opcua = require(settings.modules + "/node-opcua");

(async () => {
  const server = new opcua.OPCUAServer({
    port: settings.port, hostname: "127.0.0.1", resourcePath: "/plant",
    securityPolicies: [opcua.SecurityPolicy.None], securityModes: [opcua.MessageSecurityMode.None],
    serverCapabilities: { maxMonitoredItemsPerSubscription: 100000, maxMonitoredItems: 100000 },
  });
  await server.initialize();
  const space = server.engine.addressSpace, own = space.getOwnNamespace();
  const nodes = [];
  for (let i = 0; i < settings.nodes; i++)
    nodes.push(own.addVariable({
      organizedBy: space.rootFolder.objects, nodeId: `s=v${i}`, browseName: `v${i}`,
      dataType: "Double", value: { dataType: opcua.DataType.Double, value: 0 },
    }));
  let tick = 0;
  setInterval(() => {
    tick++;
    for (let i = 0; i < nodes.length; i++)
      nodes[i].setValueFromSource({ dataType: opcua.DataType.Double, value: tick + i / 10 });
  }, 100);
  await server.start();
  console.log("ready");
})();
