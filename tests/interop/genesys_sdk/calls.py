"""Calls of the official SDK, to the servers whose ports it is given; prints what came of them as JSON."""

import json
import sys

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException

login_port, api_port, client_id, secret, interval = sys.argv[1:]


def at(client, port):
    """The SDK takes one port for a whole gateway; ours has two."""
    client.set_gateway("127.0.0.1", "http", int(port), "", "")


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

users_api = sdk.UsersApi(client)
users, number, pages = [], 1, 1
while number <= pages:
    page = users_api.get_users(page_size=25, page_number=number)
    users += [user.id for user in page.entities]
    pages, number = page.page_count, number + 1

analytics = sdk.AnalyticsApi(client)
conversations, number = [], 1
while True:
    query = sdk.ConversationQuery()
    query.interval = interval
    query.paging = sdk.PagingSpec()
    query.paging.page_size, query.paging.page_number = 100, number
    page = analytics.post_analytics_conversations_details_query(query)
    if not page.conversations:
        break
    conversations += [conversation.conversation_id for conversation in page.conversations]
    number += 1
total = page.total_hits

client.access_token = "not a token"
unknown_token = refusal(users_api.get_users)
client.access_token = ""

print(json.dumps({
    "users": users,
    "conversations": conversations,
    "total": total,
    "unknown_token": unknown_token,
}))
