"""Calls of the official SDK, to the servers whose ports it is given; prints what came of them as JSON."""

import json
import sys

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException

from listing import all_conversations, all_users, at

login_port, api_port, client_id, secret, interval = sys.argv[1:]


def refusal(call):
    """What the SDK makes of an error."""
    try:
        call()
    except ApiException as error:
        return {"status": error.status, "code": json.loads(error.body)["code"]}
    return None


client = sdk.api_client.ApiClient()
at(client, login_port)
client.get_client_credentials_token(client_id, secret)
at(client, api_port)

users = all_users(client)
conversations, total = all_conversations(client, interval)

client.access_token = "not a token"
unknown_token = refusal(sdk.UsersApi(client).get_users)
client.access_token = ""

print(json.dumps({
    "users": users,
    "conversations": conversations,
    "total": total,
    "unknown_token": unknown_token,
}))
