"""What the official SDK lists, page by page."""

import PureCloudPlatformClientV2 as sdk


def at(client, port):
    """The SDK takes one port for a whole gateway; ours has two."""
    client.set_gateway("127.0.0.1", "http", int(port), "", "")


def all_users(client):
    users_api = sdk.UsersApi(client)
    users, number, pages = [], 1, 1
    while number <= pages:
        page = users_api.get_users(page_size=25, page_number=number)
        users += [user.id for user in page.entities]
        pages, number = page.page_count, number + 1
    return users


def all_conversations(client, interval):
    """Their ids, and how many the server says that there are."""
    analytics = sdk.AnalyticsApi(client)
    conversations, number = [], 1
    while True:
        query = sdk.ConversationQuery()
        query.interval = interval
        query.paging = sdk.PagingSpec()
        query.paging.page_size, query.paging.page_number = 100, number
        page = analytics.post_analytics_conversations_details_query(query)
        if not page.conversations:
            return conversations, page.total_hits
        conversations += [conversation.conversation_id for conversation in page.conversations]
        number += 1
