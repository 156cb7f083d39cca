"""Calls of the official SDK that never logs in, to a gateway that does; prints what came of them as JSON."""

import json
import sys

import PureCloudPlatformClientV2 as sdk

from listing import all_conversations, all_users, at

port, interval = sys.argv[1:]

client = sdk.api_client.ApiClient()
at(client, port)
users = all_users(client)
conversations, total = all_conversations(client, interval)

print(json.dumps({"users": users, "conversations": conversations, "total": total}))
